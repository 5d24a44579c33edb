--- How the binary that owners get is compiled.
local file = require "lib.file"
local need = require "lib.need"
local proc = require "lib.proc"

describe("the program", function()
	it("is position-independent, read-only where it can be, and checks its stack and buffers", function()
		need.program("readelf")
		local path = file.quote(os.getenv("TIDEGATE_RELEASE") or "build/tidegate")
		local text = proc.output("readelf --wide --file-header --program-headers --dynamic --symbols " .. path)
		assert(text:find("Type:%s+DYN"), "no PIE")
		assert(text:find("GNU_RELRO", 1, true), "no RELRO")
		assert(text:find("%(FLAGS_1%)[^\n]*NOW"), "symbols are bound late")
		assert(text:find("GNU_STACK[^\n]* RW "), "the stack can be executed")
		assert(text:find("__stack_chk_fail", 1, true), "no stack protector")
		assert(text:find("__%a+_chk@"), "not fortified")
	end)
end)
