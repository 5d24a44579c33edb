# In place of OpenWrt's package.mk, for packaging/ipk.sh: puts what was built in $(PKG_BUILD_DIR) into
# $(ROOT) as the package has it, and what opkg is told of it into $(ROOT)/CONTROL.
comma := ,
empty :=
space := $(empty) $(empty)
depends = $(subst $(space),$(comma)$(space),$(strip $(patsubst +%,%,$(1))))

define ControlFile
Package: $(PKG_NAME)
Version: $(PKG_VERSION)-r$(PKG_RELEASE)
Depends: $(call depends,libc $(DEPENDS))
Source: $(PKG_NAME)
License: $(PKG_LICENSE)
Section: $(SECTION)
Require-User: $(USERID)
Maintainer: $(PKG_MAINTAINER)
Architecture: $(ARCH)
Installed-Size: @size@
Description: $(TITLE)
$(Package/$(PKG_NAME)/description)
endef

# The system's own functions enable and start what is in /etc/init.d, and make the user.
define ScriptFile
#!/bin/sh
[ -s "$$IPKG_INSTROOT/lib/functions.sh" ] || exit 0
. "$$IPKG_INSTROOT/lib/functions.sh"
default_$(1) "$$0" "$$@"
endef

# Two targets, as make writes a recipe's files before it runs the recipe.
define BuildPackage
$(eval $(Package/$(1)))
package: tree
	@: $$(file >$$(ROOT)/CONTROL/control,$$(ControlFile))
	@: $$(file >$$(ROOT)/CONTROL/conffiles,$$(Package/$(1)/conffiles))
	@: $$(file >$$(ROOT)/CONTROL/postinst,$$(call ScriptFile,postinst))
	@: $$(file >$$(ROOT)/CONTROL/prerm,$$(call ScriptFile,prerm))
	chmod 755 $$(ROOT)/CONTROL/postinst $$(ROOT)/CONTROL/prerm

tree:
	$$(INSTALL_DIR) $$(ROOT)/CONTROL
	$$(call Package/$(1)/install,$$(ROOT))
endef
