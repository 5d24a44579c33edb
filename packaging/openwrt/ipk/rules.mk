# What OpenWrt's build system defines and our feed's Makefile uses, for packaging/ipk.sh.
INSTALL_DIR  = install -d -m 755
INSTALL_BIN  = install -m 755
INSTALL_DATA = install -m 644
INSTALL_CONF = install -m 600
