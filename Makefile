# Tidegate. `make help` lists what can be made.
#
# Settings: override on the command line or in the environment
# (make CC=clang CFLAGS=-Os, make PKG_CONFIG=arm-linux-gnueabihf-pkg-config).

VERSION     = 0.1.0
PREFIX      = /usr/local
DESTDIR     =
BUILD       = build
CC          = gcc
AR          = ar
PKG_CONFIG  = pkg-config
INSTALL     = install
STRIP       = strip
CFLAGS      = -O2 -g
LUA         = lua5.4

# OpenWrt's Lua has no pkg-config file: set LUA_CFLAGS and LUA_LIBS there.
LUA_CFLAGS    = $(shell $(PKG_CONFIG) --cflags lua5.4)
LUA_LIBS      = $(shell $(PKG_CONFIG) --libs lua5.4)
SQLITE_CFLAGS = $(shell $(PKG_CONFIG) --cflags sqlite3)
SQLITE_LIBS   = $(shell $(PKG_CONFIG) --libs sqlite3)
MOSQ_CFLAGS   = $(shell $(PKG_CONFIG) --cflags libmosquitto)
MOSQ_LIBS     = $(shell $(PKG_CONFIG) --libs libmosquitto)
TLS_LIBS      = $(shell $(PKG_CONFIG) --libs libssl)
JSON_LIBS     = $(shell $(PKG_CONFIG) --libs jansson)

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
           -Wwrite-strings -Wformat=2 -Wundef -Wvla
OUR_CFLAGS = -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -DVERSION='"$(VERSION)"' \
             -Istore -Iagent $(WARNINGS) -MMD -MP

STORE_SOURCES = store/store.c store/queue.c
AGENT_SOURCES = agent/buffer.c agent/log.c agent/loop.c agent/topic.c agent/properties.c agent/value.c \
                agent/config.c agent/link.c agent/mqtt.c agent/forward.c agent/script.c agent/run.c
MAIN_SOURCE   = agent/main.c
STORE_TESTS   =
AGENT_TESTS   =
TOOLS         =

-include local.mk

STORE_OBJECTS = $(STORE_SOURCES:%.c=$(BUILD)/%.o)
AGENT_OBJECTS = $(AGENT_SOURCES:%.c=$(BUILD)/%.o)
MAIN_OBJECT   = $(MAIN_SOURCE:%.c=$(BUILD)/%.o)
AGENT_LIBS    = $(LUA_LIBS) $(MOSQ_LIBS) $(TLS_LIBS) $(SQLITE_LIBS) $(JSON_LIBS) -lpthread -lm

all: $(BUILD)/tidegate

$(BUILD)/tidegate: $(MAIN_OBJECT) $(BUILD)/libagent.a $(BUILD)/libstore.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(AGENT_LIBS)

$(BUILD)/libstore.a: $(STORE_OBJECTS)
	rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libagent.a: $(AGENT_OBJECTS)
	rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(OUR_CFLAGS) $(LUA_CFLAGS) $(SQLITE_CFLAGS) $(MOSQ_CFLAGS) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

clean:
	rm -rf build

.PHONY: all clean
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
