--- The .ipk for OpenWrt's opkg. It is packed around the program under test: whether that would run on
-- a router is not what is asked here.
local file = require "lib.file"
local openwrt = require "lib.openwrt"
local proc = require "lib.proc"
local uv = require "luv"

local binary = assert(uv.fs_realpath(os.getenv("TIDEGATE_RELEASE") or "build/tidegate"), "run make first")

-- Packs it; returns the path.
local function pack(directory, before)
	return (proc.output(("%s packaging/ipk.sh %s mipsel_24kc %s 2>/dev/null"):format(before or "", file.quote(binary),
		directory)):gsub("\n$", ""))
end

-- Unpacks it as opkg does; returns a directory with `root` and `control` in it.
local function unpacked()
	local directory = file.directory()
	proc.output(([[cd %s && tar -xzf %s && mkdir root control && tar -C root -xpzf data.tar.gz &&
		tar -C control -xpzf control.tar.gz]]):format(directory, pack(directory)))
	return directory
end

local function mode(path)
	return ("%o"):format(assert(uv.fs_stat(path), path .. " is not there").mode & 4095)
end

describe("the .ipk", function()
	it("is what opkg takes", function()
		local directory = file.directory()
		local path = pack(directory)
		assert.equal(directory .. "/tidegate_0.1.0-r1_mipsel_24kc.ipk", path)
		assert.equal("./debian-binary\n./data.tar.gz\n./control.tar.gz\n", proc.output("tar -tzf " .. path))
		assert.equal("2.0\n", proc.output("tar -xzOf " .. path .. " ./debian-binary"))
		assert.equal("0/0\n", proc.output(("tar -xzOf %s ./data.tar.gz | tar -tzv --numeric-owner | "):format(path) ..
			"awk '{ print $2 }' | sort -u"))
	end)

	it("says what it is and needs", function()
		local directory = unpacked()
		local control = file.read(directory .. "/control/control")
		local version = file.read("Makefile"):match("\nVERSION%s*= (%S+)")
		for _, line in ipairs { "Package: tidegate", "Version: " .. version .. "-r1", "Architecture: mipsel_24kc",
				"Depends: libc, jansson, liblua5.4, libmosquitto-ssl, libopenssl, libsqlite3",
				"Require-User: tidegate:tidegate", "License: MIT" } do
			assert.truthy(("\n" .. control):find("\n" .. line .. "\n", 1, true), line .. " in\n" .. control)
		end
		local size = tonumber(control:match("\nInstalled%-Size: (%d+)\n"))
		assert(size > uv.fs_stat(binary).size and size < uv.fs_stat(binary).size + 500000, size)
		assert.truthy(control:find("\nDescription: MQTT gateway[^\n]*\n [^\n]+\n"), control)
		assert.falsy(control:find("@size", 1, true) or control:find("$", 1, true), control)
	end)

	it("keeps what the owner changes", function()
		local directory = unpacked()
		local kept = file.read(directory .. "/control/conffiles")
		assert.equal("/etc/config/tidegate\n/etc/tidegate/scripts/forward.lua\n", kept)
		for path in kept:gmatch("[^\n]+") do
			assert.truthy(file.exists(directory .. "/root" .. path), path)
		end
		assert.equal("/etc/tidegate/\n/srv/tidegate/\n", file.read(directory .. "/root/lib/upgrade/keep.d/tidegate"))
	end)

	it("has its files with their modes", function()
		local root = unpacked() .. "/root"
		for path, expected in pairs { [""] = "755", ["/usr/bin/tidegate"] = "755", ["/etc/init.d/tidegate"] = "755",
				["/etc/config/tidegate"] = "600", ["/etc/tidegate/scripts/forward.lua"] = "644",
				["/usr/share/tidegate/uci.sh"] = "644", ["/usr/share/tidegate/scripts/lib/rules/deadband.lua"] = "644",
				["/usr/share/tidegate/examples/silence.lua"] = "644" } do
			assert.equal(expected, mode(root .. path), path)
		end
		assert.equal(file.read(binary), file.read(root .. "/usr/bin/tidegate"))
	end)

	it("lets the system's functions enable it, and does without them", function()
		local directory = unpacked()
		for script, call in pairs { postinst = "default_postinst", prerm = "default_prerm" } do
			local path = directory .. "/control/" .. script
			assert.equal("755", mode(path))
			assert.equal("", proc.output(("IPKG_INSTROOT=%s/none sh %s configure"):format(directory, path)))
			proc.output("mkdir -p " .. directory .. "/lib")
			file.write(directory .. "/lib/functions.sh", call .. "() { echo \"$# $2\"; return 7; }\n")
			assert.equal("2 configure\n7\n", proc.output(("IPKG_INSTROOT=%s sh %s configure; echo $?"):format(directory, path)))
		end
	end)

	it("has an init script that works with what else is in it", function()
		local root = unpacked() .. "/root"
		local router = openwrt.new((file.read(root .. "/etc/config/tidegate"):gsub("enabled '0'", "enabled '1'")), root)
		local well, did = router:run("start")
		assert.truthy(well, did.logged)
		assert.equal("192.0.2.1", router:made().links.core.urls[1]:match("//(.-):"))
	end)

	it("is the same bytes from the same files", function()
		local one, two = pack(file.directory()), pack(file.directory(), "umask 077; sleep 1.1; TZ=Asia/Tokyo")
		assert.equal(file.read(one), file.read(two))
	end)

	it("is not made of nothing", function()
		assert.falsy((os.execute("packaging/ipk.sh /nowhere mipsel_24kc " .. file.directory() .. " >/dev/null 2>&1")))
		assert.falsy((os.execute("make -s ipk >/dev/null 2>&1")))
	end)
end)
