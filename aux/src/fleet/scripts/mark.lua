-- Notes a change. Records whose loads began before it are outdated from now on, and so are the locks
-- of such loads.
--
-- KEYS: the latest change.
-- ARGV: the time since the change in ms; "deleted" if records from before must not be used at all,
-- else "changed"; the lifetime of the note in ms.
-- Returns: 1.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then
    redis.call('DEL', KEYS[1])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = now - tonumber(ARGV[1])
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[2])) or 0
-- A later change outweighs this one, unless the clock stepped back since.
if known < at or known > now then
    redis.call('HSET', KEYS[1], ARGV[2], string.format('%.0f', at))
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
