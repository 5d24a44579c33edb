--- What the demo shows. On a terminal: a panel that is redrawn in place, and above
-- it the story, line by line. Elsewhere: plain lines, one a second.
local uv = require "luv"
local cleanup = require "lib.cleanup"

local M = {}

-- The sparklines: one cell for so many seconds, so many cells.
local CELL = 0.6
local CELLS = 56

local screen = {}
screen.__index = screen

local function speaks_utf8()
	local locale = os.getenv("LC_ALL") or ""
	locale = locale ~= "" and locale or os.getenv("LC_CTYPE") or ""
	locale = locale ~= "" and locale or os.getenv("LANG") or ""
	return locale:lower():find("utf%-?8") ~= nil
end

local UNICODE = { "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█", dot = "●", arrow = "──▶", cut = "─╳─", rule = "─" }
local ASCII = { "_", ".", ":", "-", "=", "+", "*", "#", dot = "*", arrow = "-->", cut = "-x-", rule = "-" }

--- `origin`: the second that the story counts from.
function M.open(origin)
	local terminal = uv.guess_handle(1) == "tty" and os.getenv("TERM") ~= "dumb"
	local no_color = os.getenv("NO_COLOR")
	local self = setmetatable({
		origin = origin,
		terminal = terminal,
		color = terminal and (no_color == nil or no_color == ""),
		glyphs = speaks_utf8() and UNICODE or ASCII,
		panel = 0, -- lines of it that stand on the terminal
		history = {},
		printed = 0,
	}, screen)
	if terminal then
		io.stdout:setvbuf("full") -- whole frames only: no flicker
		io.write("\27[?25l") -- no cursor
		cleanup.defer(function()
			io.write("\27[?25h")
			io.flush()
		end)
	end
	return self
end

function screen:paint(color, text)
	local codes = { red = 31, green = 32, yellow = 33, cyan = 36, bold = 1, dim = 2 }
	return self.color and ("\27[%dm%s\27[0m"):format(codes[color], text) or text
end

local function clock(seconds)
	return ("%02d:%02d"):format(math.floor(seconds / 60), math.floor(seconds % 60))
end

--- 12345 as "12,345".
function M.grouped(number)
	local text = ("%d"):format(number)
	local head = (#text - 1) % 3 + 1
	return text:sub(1, head) .. text:sub(head + 1):gsub("%d%d%d", ",%0")
end

function screen:erase_panel()
	if self.panel > 0 then
		io.write(("\27[%dA\27[J"):format(self.panel))
		self.panel = 0
	end
end

--- Leaves the panel where it is: what is said from now on comes below it.
function screen:keep_panel()
	self.panel = 0
end

--- A line without a time, before the story begins or after it.
function screen:say(text)
	self:erase_panel()
	io.write(text, "\n")
	io.flush()
end

--- A line of the story.
function screen:tell(now, color, text)
	self:say(("  %s  %s"):format(self:paint("dim", clock(now - self.origin)), self:paint(color, text)))
	if self.terminal then
		self:draw(now)
	end
end

-- ---- sparklines ----

-- The cell that `now` falls in keeps the largest values seen in it; cells that
-- were missed look like it.
local function remember(history, cell, scene)
	for i = math.min(#history + 1, cell), cell do
		local entry = history[i] or { incoming = 0, outgoing = 0, backlog = 0, cut = false }
		for _, key in ipairs { "incoming", "outgoing", "backlog" } do
			entry[key] = math.max(entry[key], scene[key])
		end
		entry.cut = entry.cut or not scene.uplink
		history[i] = entry
	end
end

local function highest(history, key)
	local value = 1
	for _, entry in ipairs(history) do
		value = math.max(value, entry[key])
	end
	return value
end

-- What comes in and goes out is drawn to one scale.
local function sparkline(self, key, color)
	local top = highest(self.history, key)
	if key ~= "backlog" then
		top = math.max(highest(self.history, "incoming"), highest(self.history, "outgoing"))
	end
	local runs, run, run_color = {}, "", color
	for _, entry in ipairs(self.history) do
		local cell_color = entry.cut and key == "outgoing" and "red" or color
		if cell_color ~= run_color then
			runs[#runs + 1] = self:paint(run_color, run)
			run, run_color = "", cell_color
		end
		run = run .. self.glyphs[math.floor(entry[key] / top * 7 + 0.5) + 1]
	end
	return table.concat(runs) .. self:paint(run_color, run)
end

-- ---- the panel ----

local function path(self, scene)
	local glyphs = self.glyphs
	local arrow = self:paint("dim", glyphs.arrow)
	local agent = scene.agent and self:paint("green", glyphs.dot .. " tidegate") or self:paint("red", "  killed  ")
	local line = scene.uplink and arrow or self:paint("red", glyphs.cut)
	return ("  %d sensors %s field broker %s %s %s core broker %s collector"):format(scene.sensors, arrow, arrow,
		agent, line, arrow)
end

local function row(self, name, value, unit, key, color)
	return ("  %-9s %9s %-9s %s"):format(name, value, unit, sparkline(self, key, color))
end

local function panel(self, scene)
	return {
		"",
		path(self, scene),
		"",
		row(self, "in", M.grouped(scene.incoming), "a second", "incoming", "cyan"),
		row(self, "out", M.grouped(scene.outgoing), "a second", "outgoing", "green"),
		row(self, "waiting", M.grouped(scene.backlog), "readings", "backlog", "yellow"),
		("  %-9s %9s %s"):format("memory", scene.memory and ("%.1f"):format(scene.memory / 2 ^ 20) or "-", "MB"),
	}
end

function screen:draw(now)
	self:erase_panel()
	local lines = panel(self, self.scene)
	io.write(table.concat(lines, "\n"), "\n")
	io.flush()
	self.panel = #lines
	self.drawn = now
end

local function plain_line(self, now)
	local scene = self.scene
	io.write(("  %s  in %d/s, out %d/s, waiting %d%s%s\n"):format(clock(now - self.origin), scene.incoming,
		scene.outgoing, scene.backlog, scene.uplink and "" or ", uplink cut", scene.agent and "" or ", agent killed"))
	io.flush()
end

--- Shows the state of things: sensors, incoming and outgoing (a second), backlog,
-- memory (bytes or nil), agent and uplink (true: up).
function screen:show(now, scene)
	self.scene = scene
	remember(self.history, math.min(CELLS, math.floor((now - self.origin) / CELL) + 1), scene)
	if self.terminal then
		self:draw(now)
	elseif now - self.printed >= 1 then
		self.printed = now
		plain_line(self, now)
	end
end

return M
