--- Messages in the vectors of others, one file each, for libFuzzer to begin with.
-- usage: vectors.lua FOLDER-OF-VECTORS FOLDER-TO-WRITE-TO
local from, to = ...
os.execute(("mkdir -p '%s'"):format(to))

local function write(name, hex)
	local file = assert(io.open(("%s/%s"):format(to, name), "wb"))
	file:write((hex:gsub("%x%x", function(digits)
		return string.char(tonumber(digits, 16))
	end)))
	assert(file:close())
end

local n = 0
for _, name in ipairs { "vectors", "bad-vectors" } do
	local file = io.open(("%s/%s.json"):format(from, name))
	for hex in (file and file:read("a") or ""):gmatch('"hex": *"(%x*)"') do
		n = n + 1
		write(("%s-%d"):format(name, n), hex)
	end
	if file then
		file:close()
	end
end
print(n > 0 and ("%d vectors of others"):format(n) or ("no vectors of others in %s"):format(from))
