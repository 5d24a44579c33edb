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
ZSH_COMPLETIONS = $(PREFIX)/share/zsh/site-functions
CFLAGS      = -O2 -g
SANITIZE    = -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer

# Before CFLAGS and LDFLAGS, which may say otherwise. The checked C library calls need
# optimization, and get in the sanitizers' way.
FORTIFY        = $(if $(filter -O1 -O2 -O3 -Os,$(CFLAGS)),$(if $(findstring FORTIFY,$(CPPFLAGS) $(CFLAGS))$(findstring \
                 -fsanitize,$(CFLAGS)),,-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2))
HARDEN_CFLAGS  = -fPIE -fstack-protector-strong $(FORTIFY)
HARDEN_LDFLAGS = -pie -Wl,-z,relro,-z,now

# OpenWrt's Lua has no pkg-config file: set LUA_CFLAGS and LUA_LIBS there.
LUA_CFLAGS    = $(shell $(PKG_CONFIG) --cflags lua5.4)
LUA_LIBS      = $(shell $(PKG_CONFIG) --libs lua5.4)
SQLITE_CFLAGS = $(shell $(PKG_CONFIG) --cflags sqlite3)
SQLITE_LIBS   = $(shell $(PKG_CONFIG) --libs sqlite3)
MOSQ_CFLAGS   = $(shell $(PKG_CONFIG) --cflags libmosquitto)
MOSQ_LIBS     = $(shell $(PKG_CONFIG) --libs libmosquitto)
JSON_CFLAGS   = $(shell $(PKG_CONFIG) --cflags jansson)
JSON_LIBS     = $(shell $(PKG_CONFIG) --libs jansson)
HTTP_CFLAGS   = $(shell $(PKG_CONFIG) --cflags libmicrohttpd)
TLS_LIBS      = $(shell $(PKG_CONFIG) --libs libssl libcrypto)

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
           -Wwrite-strings -Wformat=2 -Wundef -Wvla
OUR_CFLAGS = -std=c11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -DVERSION='"$(VERSION)"' \
             -Istore -Iagent $(WARNINGS) -MMD -MP

# What it draws charts with: in the tarball of `make dist`, else from npm, once for all builds; or from UPLOT, a
# directory with uPlot.iife.min.js, uPlot.min.css and LICENSE. Without any of them the page has no charts. The tarball
# has uPlot.iife.js, too, which the smaller one was made of.
UPLOT        = $(if $(wildcard agent/page/uplot/LICENSE),agent/page/uplot,build/page/uplot)

# ---- what is built of what ----

STORE_SOURCES = store/cell.c store/check.c store/dead.c store/entry.c store/flight.c store/forest.c store/image.c \
                store/lane.c store/ledger.c store/look.c store/notes.c store/purge.c store/quarantine.c \
                store/queue.c store/rows.c store/salvage.c store/schema.c store/state.c store/still.c store/store.c
AGENT_SOURCES = agent/ack_line.c agent/answer.c agent/api_base.c agent/api_json.c agent/api_kdb.c agent/api_metric.c \
                agent/api_mqtt.c agent/api_options.c agent/api_properties.c agent/api_rehearsal.c agent/api_state.c \
                agent/api_timer.c agent/attempt.c agent/buffer.c agent/cli_ask.c agent/cli_client.c agent/cli_dead.c \
                agent/cli_kdb.c agent/cli_kdb_decode.c agent/cli_kdb_listen.c agent/cli_kdb_show.c agent/cli_queue.c \
                agent/cli_reload.c agent/cli_replay.c agent/cli_run.c agent/cli_status.c agent/cli_table.c \
                agent/cli_test.c agent/clock.c agent/commands.c agent/config.c agent/config_check.c agent/config_kdb.c \
                agent/config_lines.c agent/config_link.c agent/config_lua.c agent/config_read.c agent/config_same.c \
                agent/config_scripts.c agent/config_secrets.c agent/config_tls.c agent/config_url.c agent/connection.c \
                agent/control.c agent/custody.c agent/dead_commands.c agent/dead_letters.c agent/disk.c agent/drops.c \
                agent/effects.c agent/forward.c agent/forward_lost.c agent/forward_purge.c agent/hangup.c \
                agent/health.c agent/hex.c agent/histogram.c agent/history.c agent/host.c agent/http.c \
                agent/http_health.c agent/http_library.c agent/http_metrics.c agent/http_page.c agent/json_encode.c \
                agent/json_need.c agent/jsonl.c agent/kdb.c agent/kdb_access.c agent/kdb_batch.c agent/kdb_call.c \
                agent/kdb_calls.c agent/kdb_coerce.c agent/kdb_compress.c agent/kdb_cuts.c agent/kdb_errors.c \
                agent/kdb_ipc.c agent/kdb_item.c agent/kdb_meta.c agent/kdb_plain.c agent/kdb_print.c agent/kdb_read.c \
                agent/kdb_row.c agent/kdb_socket.c agent/kdb_time.c agent/kdb_value.c agent/library.c agent/link.c \
                agent/log.c agent/log_limit.c agent/loop.c agent/losses.c agent/metrics.c agent/monitor.c agent/mqtt.c \
                agent/mqtt_buffer.c agent/mqtt_discard.c agent/mqtt_guard.c agent/mqtt_halves.c agent/mqtt_library.c \
                agent/mqtt_log.c agent/mqtt_options.c agent/mqtt_properties.c agent/mqtt_reasons.c agent/mqtt_socket.c \
                agent/mqtt_tls.c agent/nearest.c agent/network.c agent/notify.c agent/pattern.c agent/peer.c \
                agent/place.c agent/play.c agent/poison.c agent/privileges.c agent/properties.c agent/queue_commands.c \
                agent/queue_purge.c agent/quota.c agent/receipts.c agent/recorder.c agent/recording.c \
                agent/redelivery.c agent/reload.c agent/report.c agent/retry.c agent/route.c agent/row_text.c \
                agent/run.c agent/sandbox.c agent/script.c agent/script_call.c agent/script_load.c \
                agent/script_state.c agent/scripts.c agent/service.c agent/sources.c agent/state_table.c \
                agent/states.c agent/status.c agent/stripped.c agent/subscriptions.c agent/timers.c agent/topic.c \
                agent/transcript.c agent/upkeep.c agent/utf8.c agent/value.c agent/value_run.c
STORE_TESTS   = test_check test_dead test_ledger test_look test_quarantine test_queue test_queue_limits \
                test_queue_order test_salvage test_state test_still test_store
SCRIPT_TESTS  = test_kdb_row test_script test_script_base test_script_kdb test_script_limits test_script_metric \
                test_script_mqtt test_script_state test_script_state_saved test_script_state_undo test_script_timer
AGENT_TESTS   = $(SCRIPT_TESTS) test_answer test_cli_table test_clock test_config test_config_kdb test_config_link \
                test_config_same test_config_secrets test_connection test_control test_forward test_forward_lost \
                test_forward_receipts test_hangup test_health test_histogram test_history test_json test_kdb_batch \
                test_kdb_calls test_kdb_compress test_kdb_errors test_kdb_exactly_once test_kdb_ipc test_kdb_meta \
                test_kdb_refusals test_kdb_time test_library test_link test_log test_losses test_mqtt_buffer \
                test_mqtt_halves test_notify test_poison test_properties test_quota test_receipts test_recording \
                test_redelivery test_retry test_sources test_subscriptions test_timers test_topic test_value
EXAMPLES      = $(wildcard scripts/examples/*)
LIBRARY       = $(wildcard scripts/lib/rules/*.lua)

STORE_OBJECTS = $(STORE_SOURCES:%.c=$(BUILD)/%.o)
AGENT_OBJECTS = $(AGENT_SOURCES:%.c=$(BUILD)/%.o) $(BUILD)/agent/page/data.o
AGENT_LIBS    = $(LUA_LIBS) $(MOSQ_LIBS) $(JSON_LIBS) $(TLS_LIBS) $(SQLITE_LIBS) -lpthread -ldl -lm
TESTS         = $(STORE_TESTS:%=$(BUILD)/tests/%) $(AGENT_TESTS:%=$(BUILD)/tests/%)
COMPILE       = $(CC) $(OUR_CFLAGS) $(LUA_CFLAGS) $(SQLITE_CFLAGS) $(MOSQ_CFLAGS) $(JSON_CFLAGS) $(HTTP_CFLAGS) \
                $(HARDEN_CFLAGS) $(CPPFLAGS) $(CFLAGS)

all: $(BUILD)/tidegate ## the agent, build/tidegate

$(BUILD)/tidegate: $(BUILD)/agent/main.o $(BUILD)/libagent.a $(BUILD)/libstore.a
	$(CC) $(CFLAGS) $(HARDEN_LDFLAGS) $(LDFLAGS) -o $@ $^ $(AGENT_LIBS)

$(BUILD)/libstore.a: $(STORE_OBJECTS)
	rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libagent.a: $(AGENT_OBJECTS)
	rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) -c -o $@ $<

# It is what libmosquitto calls for read() and write(), which the checked ones are in the way of.
$(BUILD)/agent/mqtt_buffer.o: FORTIFY =

# ---- the page ----

PAGE_SOURCES = agent/page/page.html agent/page/page.css agent/page/page.js

build/page/uplot/LICENSE: agent/page/package.json agent/page/package-lock.json
	@mkdir -p $(@D) && cp $^ build/page
	@command -v npm >/dev/null && npm ci --prefix build/page --ignore-scripts --no-audit --no-fund --fetch-retries=0 \
			--loglevel=error >/dev/null && \
		cp $(addprefix build/page/node_modules/uplot/dist/,uPlot.iife.js uPlot.iife.min.js uPlot.min.css) \
			build/page/node_modules/uplot/LICENSE $(@D) || \
		{ echo "note: no uPlot from npm, the page at http has no charts" && touch $@; }

$(BUILD)/agent/page/page.html: $(PAGE_SOURCES) $(UPLOT)/LICENSE Makefile
	@mkdir -p $(@D)
	@UPLOT=$(UPLOT) sh agent/page/make.sh >$@.new && mv $@.new $@

$(BUILD)/agent/page/data.c: $(BUILD)/agent/page/page.html
	@{ echo '#include "http_page.h"'; echo 'const unsigned char http_page_data[] = {'; \
		od -A n -v -t x1 $< | sed 's/\([0-9a-f][0-9a-f]\) */0x\1,/g'; \
		echo '};'; echo 'const size_t http_page_size = sizeof http_page_data;'; } >$@

$(BUILD)/agent/page/data.o: $(BUILD)/agent/page/data.c
	$(COMPILE) -c -o $@ $<

# ---- using it ----

install: all ## into $(DESTDIR)$(PREFIX)
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/tidegate/examples \
		$(DESTDIR)$(PREFIX)/share/tidegate/scripts/lib/rules $(DESTDIR)$(PREFIX)/share/tidegate/scripts/meta \
		$(DESTDIR)$(PREFIX)/share/tidegate/testing/tidegate $(DESTDIR)$(PREFIX)/share/tidegate/kdb \
		$(DESTDIR)$(PREFIX)/share/tidegate/prometheus
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man5 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(ZSH_COMPLETIONS)
	$(INSTALL) -m 755 $(BUILD)/tidegate $(DESTDIR)$(PREFIX)/bin/tidegate
	$(INSTALL) -m 644 docs/man/tidegate.1 $(DESTDIR)$(PREFIX)/share/man/man1/tidegate.1
	$(INSTALL) -m 644 docs/man/tidegate.lua.5 $(DESTDIR)$(PREFIX)/share/man/man5/tidegate.lua.5
	$(INSTALL) -m 644 packaging/completion/tidegate.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/tidegate
	$(INSTALL) -m 644 packaging/completion/_tidegate $(DESTDIR)$(ZSH_COMPLETIONS)/_tidegate
	$(INSTALL) -m 644 agent.lua.example $(DESTDIR)$(PREFIX)/share/tidegate/agent.lua.example
	$(INSTALL) -m 644 $(EXAMPLES) $(DESTDIR)$(PREFIX)/share/tidegate/examples
	$(INSTALL) -m 644 $(LIBRARY) $(DESTDIR)$(PREFIX)/share/tidegate/scripts/lib/rules
	$(INSTALL) -m 644 scripts/testing/tidegate/spec.lua $(DESTDIR)$(PREFIX)/share/tidegate/testing/tidegate/spec.lua
	$(INSTALL) -m 644 scripts/meta/tidegate.lua $(DESTDIR)$(PREFIX)/share/tidegate/scripts/meta/tidegate.lua
	$(INSTALL) -m 644 packaging/kdb/README.md $(wildcard packaging/kdb/*.q) $(DESTDIR)$(PREFIX)/share/tidegate/kdb
	$(INSTALL) -m 644 packaging/prometheus/tidegate.rules.yml $(DESTDIR)$(PREFIX)/share/tidegate/prometheus
	$(INSTALL) -m 644 scripts/tidegate.luacheckrc $(DESTDIR)$(PREFIX)/share/tidegate/tidegate.luacheckrc

dist: $(UPLOT)/LICENSE ## a tarball that builds by itself, build/tidegate-VERSION.tar.gz
	@mkdir -p $(BUILD)
	UPLOT=$(UPLOT) packaging/dist.sh tidegate-$(VERSION) $(BUILD)/tidegate-$(VERSION).tar.gz

deb: deps-deb ## a Debian package, in build/deb
	@$(MAKE) --no-print-directory $(UPLOT)/LICENSE
	UPLOT=$(UPLOT) packaging/deb.sh $(VERSION) $(BUILD)/deb

test-deb: deps-test-deb ## installed, upgraded, removed, purged in a fresh chroot; as root
	@$(MAKE) --no-print-directory $(UPLOT)/LICENSE
	UPLOT=$(UPLOT) packaging/test-deb.sh $(VERSION) $(BUILD)

ipk: ## for OpenWrt's opkg, in build/ipk, of a program that was built there: TIDEGATE=FILE ARCH=NAME
	@[ -n "$(TIDEGATE)" ] && [ -n "$(ARCH)" ] || \
		{ echo "usage: make ipk TIDEGATE=FILE ARCH=NAME (see docs/install.md)" >&2; exit 64; }
	STRIP=$(STRIP) packaging/ipk.sh $(TIDEGATE) $(ARCH) $(BUILD)/ipk

container: dist ## an image, tidegate:VERSION, by podman, buildah or docker
	packaging/container.sh $(VERSION) $(BUILD)/tidegate-$(VERSION).tar.gz $(BUILD)/container

test-container: deps-test-container dist ## it is built and run without an engine; as root
	packaging/test-container.sh $(VERSION) $(BUILD)/tidegate-$(VERSION).tar.gz

demo: deps-demo ## an outage and a kill -9, watched in the terminal
	@$(MAKE) --no-print-directory all $(BUILD)/load
	@TIDEGATE=$(BUILD)/tidegate LOAD=$(BUILD)/load lua5.4 tests/demo/demo.lua

BENCH_TOOLS = $(BUILD)/fs_shutdown $(BUILD)/handler_cost $(BUILD)/kdb_encode $(BUILD)/kdb_sink $(BUILD)/load \
              $(BUILD)/paho_forward $(BUILD)/slow_sync.so
BENCH_ENV   = TIDEGATE=$(BUILD)/tidegate LOAD=$(BUILD)/load PAHO=$(BUILD)/paho_forward \
              SLOW_SYNC=$(BUILD)/slow_sync.so FS_SHUTDOWN=$(BUILD)/fs_shutdown HANDLER_COST=$(BUILD)/handler_cost \
              KDB_ENCODE=$(BUILD)/kdb_encode KDB_SINK=$(BUILD)/kdb_sink

bench: deps-bench ## beside mosquitto's bridge, Paho C and a Python script
	@$(MAKE) --no-print-directory all $(BENCH_TOOLS)
	@$(BENCH_ENV) lua5.4 tests/bench/bench.lua

losses: deps-bench ## what a kill, a power cut and a full disk cost Tidegate and others
	@$(MAKE) --no-print-directory all $(BENCH_TOOLS)
	@$(BENCH_ENV) lua5.4 tests/losses/losses.lua

# The broker of the fleet's cluster, unpacked and not installed: a package of it starts a service.
RABBITMQ = build/rabbitmq

$(RABBITMQ)/unpacked:
	@mkdir -p $(RABBITMQ)
	cd $(RABBITMQ) && apt-get download rabbitmq-server && dpkg-deb -x rabbitmq-server_*.deb . && touch unpacked

fleet: deps-fleet ## many gateways on a cluster: FLEET_AGENTS=200 FLEET_SECONDS=30 for the whole of it
	@$(MAKE) --no-print-directory all $(BUILD)/fleet_collector $(BUILD)/load $(BUILD)/no_jitter.so $(RABBITMQ)/unpacked
	@mkdir -p $(BUILD)/fleet
	@TIDEGATE=$(BUILD)/tidegate LOAD=$(BUILD)/load COLLECTOR=$(BUILD)/fleet_collector NO_JITTER=$(BUILD)/no_jitter.so \
		RABBITMQ=$(RABBITMQ) FIGURES=$(BUILD)/fleet/figures.jsonl lua5.4 tests/fleet/fleet.lua

# ---- testing it ----

test: deps-test ## unit tests and specs, with sanitizers; closes with "N passed, N failed"
	$(MAKE) all $(BUILD)/load $(BUILD)/notified $(BUILD)/paho_calls $(BUILD)/shim.so $(BUILD)/fail.so $(COLLECTOR) \
		$(INTEROP)/node_modules/.package-lock.json
	$(MAKE) BUILD=$(BUILD)/asan CFLAGS="-O1 -g $(SANITIZE)" all tests
	TIDEGATE=$(BUILD)/asan/tidegate TIDEGATE_RELEASE=$(BUILD)/tidegate NOTIFIED=$(BUILD)/notified SHIM=$(BUILD)/shim.so \
		FAIL_SHIM=$(BUILD)/fail.so PAHO_CALLS=$(BUILD)/paho_calls COLLECTOR=$(dir $(COLLECTOR)) \
		tests/run.sh $(TESTS:$(BUILD)/%=$(BUILD)/asan/%)

torture: deps-test ## kills, power cuts, broken networks and disks in their thousands: about an hour
	@$(MAKE) --no-print-directory all $(TORTURE_TESTS:%=$(BUILD)/tests/%) $(BUILD)/load $(BUILD)/fail.so
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan CFLAGS="-O1 -g $(SANITIZE)" all
	@TIDEGATE=$(BUILD)/asan/tidegate TIDEGATE_RELEASE=$(BUILD)/tidegate FAIL_SHIM=$(BUILD)/fail.so LOAD=$(BUILD)/load \
		BUILD=$(BUILD) lua5.4 tests/torture/torture.lua $(ONLY)

# What takes long under qemu, or is compiled with the store once more, is left out of the quick one. test_control
# asks which groups a peer has, and qemu does not pass that on.
CROSS_TESTS = $(filter-out test_control,$(STORE_TESTS) $(AGENT_TESTS) $(FUZZ_TARGETS))
CROSS_LONG  = test_check test_config test_connection test_json test_link test_quarantine test_queue \
              test_queue_limits test_queue_order test_quota test_salvage test_script_kdb test_script_limits \
              test_script_state test_script_state_saved test_script_state_undo

test-cross: ## on 32-bit ARM and a big-endian machine (s390x), under qemu
test-cross-quick: CROSS_TESTS := $(filter-out $(CROSS_LONG),$(CROSS_TESTS))
test-cross test-cross-quick: deps-test sysroots
	$(MAKE) all $(COLLECTOR)
	TIDEGATE=$(BUILD)/tidegate COLLECTOR=$(dir $(COLLECTOR)) tests/cross.sh test $(CROSS_TESTS)

sysroots: deps-cross
	tests/cross.sh sysroots

tests: $(TESTS)

# The store's tests link the store and SQLite, nothing of the agent: the linker guards the arrow.
$(BUILD)/tests/test_store $(BUILD)/tests/test_state: $(BUILD)/tests/%: tests/unit/%.c $(BUILD)/libstore.a Makefile
	@mkdir -p $(@D)
	$(COMPILE) -Itests/unit $(LDFLAGS) -o $@ $< $(BUILD)/libstore.a $(SQLITE_LIBS)

# For what is compiled with the store once more: gcc lists the headers of its last source only.
STORE_AGAIN = $(STORE_SOURCES) $(wildcard store/*.h tests/unit/*.h tests/torture/*.h)

# Waits little for locks that will not go; and few messages make a large database.
DAMAGED_TESTS = $(BUILD)/tests/test_check $(BUILD)/tests/test_quarantine $(BUILD)/tests/test_salvage

$(DAMAGED_TESTS): $(BUILD)/tests/%: tests/unit/%.c $(STORE_AGAIN) Makefile
	@mkdir -p $(@D)
	$(COMPILE) -Itests/unit -DLOCK_WAIT_MS=300 -DCHECK_BYTES_MAX=200000 -DQUEUE_READY_MESSAGES=4 $(LDFLAGS) \
		-o $@ $< $(STORE_SOURCES) $(SQLITE_LIBS)

# With a tiny read-ahead, so that every path between memory and disk is taken.
TINY_TESTS = test_look test_queue test_queue_limits test_queue_order test_still

$(TINY_TESTS:%=$(BUILD)/tests/%): $(BUILD)/tests/%: tests/unit/%.c $(STORE_AGAIN) Makefile
	@mkdir -p $(@D)
	$(COMPILE) -Itests/unit -DQUEUE_READY_MESSAGES=4 -DQUEUE_READY_BYTES=200 -DQUEUE_FLIGHT_MAX=512 \
		-DLOCK_WAIT_MS=300 $(LDFLAGS) \
		-o $@ $< $(STORE_SOURCES) $(SQLITE_LIBS)

# With little room, so that something must always make room.
$(BUILD)/tests/test_dead $(BUILD)/tests/test_ledger: $(BUILD)/tests/%: tests/unit/%.c $(STORE_AGAIN) Makefile
	@mkdir -p $(@D)
	$(COMPILE) -Itests/unit -DLEDGER_RECORDS=4 -DDEAD_LETTERS_MAX=4 -DDEAD_BYTES_MAX=100 $(LDFLAGS) \
		-o $@ $< $(STORE_SOURCES) $(SQLITE_LIBS)

# Those of scripts share a host.
FIXTURE = $(BUILD)/tests/unit/script_fixture.o
$(FIXTURE): OUR_CFLAGS += -Itests/unit
$(SCRIPT_TESTS:%=$(BUILD)/tests/%): $(FIXTURE)

$(AGENT_TESTS:%=$(BUILD)/tests/%): $(BUILD)/tests/%: tests/unit/%.c $(BUILD)/libagent.a $(BUILD)/libstore.a Makefile
	@mkdir -p $(@D)
	$(COMPILE) -Itests/unit $(LDFLAGS) -o $@ $< $(filter $(FIXTURE),$^) $(BUILD)/libagent.a $(BUILD)/libstore.a \
		$(AGENT_LIBS)

# What tests/collector is made of, from npm. Without npm its specs are pending, in CI they fail.
COLLECTOR = $(BUILD)/collector/node_modules/.package-lock.json

$(COLLECTOR): tests/collector/package.json tests/collector/package-lock.json
	@mkdir -p $(BUILD)/collector && cp $^ $(BUILD)/collector
	npm ci --prefix $(BUILD)/collector --ignore-scripts --no-audit --no-fund && touch $@ || \
		{ [ "$$CI" != true ] && echo "note: no stand-in for a kdb+ collector, its specs are pending"; }

# Other people's brokers and clients, once for all builds: what has to be fetched or built for each. What cannot be
# made here is named in the table.
INTEROP          = build/interop
INTEROP_aedes    = $(INTEROP)/node_modules/.package-lock.json
INTEROP_hivemq   = $(INTEROP)/hivemq/Broker.class
INTEROP_mochi    = $(INTEROP)/mochi
INTEROP_mqttjs   = $(INTEROP_aedes)
INTEROP_paho-c   = $(INTEROP)/paho_c
INTEROP_rabbitmq = $(RABBITMQ)/unpacked
INTEROP_rumqttd  = $(INTEROP)/rumqttd
INTEROP_PARTS    = $(foreach key,$(or $(ONLY),aedes hivemq mochi paho-c rabbitmq rumqttd),$(INTEROP_$(key)))

interop: deps-interop ## the agent with each broker and client in the field; writes docs/interop.md
	@$(MAKE) --no-print-directory all $(BUILD)/load
	-@$(if $(INTEROP_PARTS),$(MAKE) --no-print-directory -k $(INTEROP_PARTS))
	@TIDEGATE=$(BUILD)/tidegate LOAD=$(BUILD)/load lua5.4 tests/interop/interop.lua $(ONLY)

$(INTEROP)/node_modules/.package-lock.json: tests/interop/package.json tests/interop/package-lock.json
	@mkdir -p $(INTEROP) && cp $^ $(INTEROP)
	npm ci --prefix $(INTEROP) --ignore-scripts --no-audit --no-fund && touch $@ || \
		{ [ "$$CI" != true ] && echo "note: no Aedes, its specs are pending"; }

$(INTEROP)/mochi: $(wildcard tests/interop/mochi/*)
	@mkdir -p $(INTEROP)
	cd tests/interop/mochi && go build -o $(CURDIR)/$@ .

$(BUILD)/interop/paho_c: tests/interop/clients/paho_c.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -o $@ $< -lpaho-mqtt3as -ljansson

$(INTEROP)/rumqttd: tests/interop/rumqttd/Cargo.toml tests/interop/rumqttd/Cargo.lock tests/interop/rumqttd/src/main.rs
	cargo build --release --locked --manifest-path $< --target-dir $(INTEROP)/cargo
	cp $(INTEROP)/cargo/release/rumqttd-broker $@

$(INTEROP)/hivemq/Broker.class: $(addprefix tests/interop/hivemq/,Broker.java pom.xml SHA256SUMS)
	mvn -B -q -f tests/interop/hivemq/pom.xml dependency:copy-dependencies \
		-DoutputDirectory=$(CURDIR)/$(INTEROP)/hivemq/lib
	cd $(INTEROP)/hivemq/lib && sha256sum --quiet -c $(CURDIR)/tests/interop/hivemq/SHA256SUMS
	javac -cp '$(INTEROP)/hivemq/lib/*' -d $(@D) $<

$(BUILD)/load: tests/tools/load.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -o $@ $< $(MOSQ_LIBS) -lpthread

$(BUILD)/notified: tests/tools/notified.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -o $@ $<

$(BUILD)/kdb_sink: tests/tools/kdb_sink.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -o $@ $<

$(BUILD)/paho_calls: tests/tools/paho_calls.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -o $@ $< -lpaho-mqtt3c || \
		{ [ "$$CI" != true ] && echo "note: no Paho C client to compare with, what does is pending"; }

$(BUILD)/shim.so: tests/tools/shim.c Makefile
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) -shared -fPIC -o $@ $<

$(BUILD)/paho_forward: tests/bench/paho_forward.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -o $@ $< -lpaho-mqtt3as -lpthread

$(BUILD)/fleet_collector: tests/fleet/collector.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -o $@ $< -lrabbitmq

$(BUILD)/no_jitter.so: tests/fleet/no_jitter.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) -shared -fPIC $(LDFLAGS) -o $@ $<

$(BUILD)/kdb_encode: tests/bench/kdb_encode.c $(BUILD)/libagent.a Makefile
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -o $@ $< $(BUILD)/libagent.a -lm

$(BUILD)/handler_cost: tests/bench/handler_cost.c $(BUILD)/libagent.a $(BUILD)/libstore.a Makefile
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -o $@ $< $(BUILD)/libagent.a $(BUILD)/libstore.a $(AGENT_LIBS)

$(BUILD)/slow_sync.so: tests/bench/slow_sync.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) -shared -fPIC $(LDFLAGS) -o $@ $< -ldl

$(BUILD)/fs_shutdown: tests/losses/fs_shutdown.c Makefile
	@mkdir -p $(@D)
	$(COMPILE) $(LDFLAGS) -o $@ $<

LINT_TOOLS = fail.so fs_shutdown handler_cost interop/paho_c kdb_encode kdb_sink load notified paho_calls shim.so \
             slow_sync.so

lint: deps-lint ## warnings as errors under gcc and clang, cppcheck, luacheck, shellcheck, mandoc
	$(MAKE) BUILD=$(BUILD)/lint-gcc CC=gcc CFLAGS="-O2 -Werror" all tests $(LINT_TOOLS:%=$(BUILD)/lint-gcc/%)
	$(MAKE) BUILD=$(BUILD)/lint-clang CC=clang CFLAGS="-O2 -Werror" all tests $(LINT_TOOLS:%=$(BUILD)/lint-clang/%)
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
		--suppress=missingIncludeSystem -DVERSION='"0"' -Iagent -Istore -Itests/unit agent store \
		tests/unit tests/tools tests/torture tests/fuzz tests/interop \
		tests/bench/handler_cost.c tests/bench/kdb_encode.c tests/bench/slow_sync.c tests/fleet tests/losses
	luacheck --quiet scripts tests agent.lua.example
	shellcheck -x .ci/run agent/page/make.sh packaging/*.sh packaging/completion/*.bash tests/*.sh tests/openwrt/*.sh \
		packaging/openwrt/net/tidegate/files/uci.sh packaging/openwrt/net/tidegate/files/tidegate.init
	mandoc -T lint -W warning docs/man/*

# ---- torture ----

# The store on a disk that forgets, with everything tiny, so that a short run reaches what takes a gateway months;
# and with allocations that can fail.
TORTURE_TESTS   = faults pages power_cut
TORTURE_SOURCES = tests/torture/custody.c tests/torture/custody_check.c tests/torture/custody_state.c \
                  tests/torture/disk.c tests/torture/memory.c
TORTURE_TINY    = -DQUEUE_READY_MESSAGES=4 -DQUEUE_READY_BYTES=2000 -DSEQ_BLOCK=64 -DWAL_PAGES=8
TORTURE_WRAP    = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup
TESTS          += $(TORTURE_TESTS:%=$(BUILD)/tests/%)

tests: $(TORTURE_TESTS:%=$(BUILD)/tests/%)

# It damages the log, too: that must not be checkpointed meanwhile.
$(BUILD)/tests/pages: TORTURE_TINY += -UWAL_PAGES -DWAL_PAGES=4096

$(TORTURE_TESTS:%=$(BUILD)/tests/%): $(BUILD)/tests/%: tests/torture/%.c $(TORTURE_SOURCES) $(STORE_AGAIN) Makefile
	@mkdir -p $(@D)
	$(COMPILE) -Itests/unit $(TORTURE_TINY) $(LDFLAGS) $(TORTURE_WRAP) -o $@ $< $(TORTURE_SOURCES) $(STORE_SOURCES) \
		$(SQLITE_LIBS)

$(BUILD)/fail.so: tests/torture/shim.c Makefile
	@mkdir -p $(@D)
	$(CC) -std=c11 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) -shared -fPIC -o $@ $<

# ---- fuzzing ----

# What was found is under tests/fuzz/corpus and replayed by `make test`; what is new stays in $(FUZZ_FOUND).
FUZZ_SECONDS = 60
FUZZ_TARGETS = fuzz_config fuzz_json fuzz_kdb fuzz_topic
FUZZ_FOUND   = $(BUILD)/fuzz/found
FUZZ_SHARED  = $(BUILD)/fuzz/shared
TESTS       += $(FUZZ_TARGETS:%=$(BUILD)/tests/%)

tests: $(FUZZ_TARGETS:%=$(BUILD)/tests/%)

$(FUZZ_TARGETS:%=$(BUILD)/tests/%): $(BUILD)/tests/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/replay.c \
		$(BUILD)/libagent.a $(BUILD)/libstore.a Makefile
	@mkdir -p $(@D)
	$(COMPILE) -Itests/unit -DCORPUS='"tests/fuzz/corpus/$*"' $(LDFLAGS) -o $@ $(filter %.c,$^) \
		$(BUILD)/libagent.a $(BUILD)/libstore.a $(AGENT_LIBS)

$(FUZZ_TARGETS:%=$(BUILD)/%): $(BUILD)/fuzz_%: tests/fuzz/fuzz_%.c $(BUILD)/libagent.a $(BUILD)/libstore.a Makefile
	$(COMPILE) -fsanitize=fuzzer $(LDFLAGS) -o $@ $< $(BUILD)/libagent.a $(BUILD)/libstore.a $(AGENT_LIBS)

fuzz: deps-fuzz ## libFuzzer on each target for FUZZ_SECONDS, with sanitizers (TARGET=fuzz_json: on one)
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/fuzz CC=clang CPPFLAGS=-DCONFIG_CPU_MS=20 \
		CFLAGS="-O1 -g $(SANITIZE) -fsanitize=fuzzer-no-link" $(FUZZ_TARGETS:%=$(BUILD)/fuzz/%)
	@lua5.4 tests/fuzz/vectors.lua $(or $(SHARED),../shared)/kdb $(FUZZ_SHARED)/kdb
	@for target in $(or $(TARGET),$(FUZZ_TARGETS)); do \
		name=$${target#fuzz_}; mkdir -p $(FUZZ_FOUND)/$$name $(FUZZ_SHARED)/$$name; echo "== $$target"; \
		$(BUILD)/fuzz/$$target -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
			-dict=tests/fuzz/$$name.dict -artifact_prefix=$(BUILD)/fuzz/ -verbosity=0 -print_final_stats=1 \
			$(FUZZ_FOUND)/$$name tests/fuzz/corpus/$$name $(FUZZ_SHARED)/$$name || exit 1; \
	done

# ---- housekeeping ----

deps-%:
	@packaging/install-deps.sh build $*

clean: ## removes everything that was built
	rm -rf build

help:
	@sed -n 's/^\([a-z0-9-]*\):.* ## /  make \1	/p' Makefile

.PHONY: all install dist deb ipk container test-deb test-container demo bench fleet fuzz interop losses test torture \
        test-cross test-cross-quick sysroots tests lint clean help
-include $(shell find $(BUILD)/agent $(BUILD)/store $(BUILD)/tests -name '*.d' 2>/dev/null)
