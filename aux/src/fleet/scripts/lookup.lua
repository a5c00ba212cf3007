-- Reads a record, and takes the lock of its load if the record is missing, stale or outdated by a
-- change, and no other replica holds the lock.
--
-- KEYS: the record, the lock, the latest change.
-- ARGV: the token of the caller; the lifetime of a lock in ms; the demand: "read" reads the record,
-- "lock" ignores it, and "seize" ignores it and takes the lock from its holder; the fraction of its
-- lifetime up to which the record counts as fresh; the largest size of a body in bytes; "known" if the
-- caller has the stale record already and needs it no second time while it waits for a lock.
-- Returns: the state ("fresh", "locked" by another or "taken" by the caller); the body, or false; the
-- record's lifetime, its time for background refreshes, its total time, the time that its load took
-- and its remaining time in ms; 1 if a change has outdated the record; its authentication code; the
-- pages and the names that the holder of the lock has loaded.
local token, lock_ms, demand = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local fraction, largest = tonumber(ARGV[4]), tonumber(ARGV[5])

local function is_hash(key)
    return redis.call('TYPE', key).ok == 'hash'
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Loads that began before a change may have read the old data. A change in the future is one before
-- the clock stepped back.
local changed, deleted = -1, -1
if is_hash(KEYS[3]) then
    local change = redis.call('HMGET', KEYS[3], 'changed', 'deleted')
    changed, deleted = tonumber(change[1]) or -1, tonumber(change[2]) or -1
    if changed > now then changed = -1 end
    if deleted > now then deleted = -1 end
end

local none = { false, 0, 0, 0, 0, 0, 0, '' }
local record, fresh = none, false
if demand == 'read' and is_hash(KEYS[1]) then
    local found = redis.call('HMGET', KEYS[1], 'body', 'lifetime', 'revalidate', 'total', 'load', 'mac', 'began')
    local remaining = redis.call('PTTL', KEYS[1])
    local lifetime, revalidate = tonumber(found[2]), tonumber(found[3])
    local total, load = tonumber(found[4]), tonumber(found[5])
    local began = tonumber(found[7]) or 0
    -- A record without an expiry, or with more time than it had at first, has no known age. The
    -- comparisons are false for a number that is none.
    if began > deleted and found[1] and #found[1] <= largest and lifetime and revalidate and total and load
        and remaining > 0 and remaining <= total and total <= 1e13
        and lifetime >= 0 and lifetime <= total and revalidate >= 0 and revalidate <= total
        and load >= 0 and load <= total then
        local outdated = began <= changed
        record = { found[1], lifetime, revalidate, total, load, remaining, outdated and 1 or 0, found[6] or '' }
        fresh = not outdated and total - remaining < lifetime * fraction
    end
end

local function result(state, pages, names)
    return { state, record[1], record[2], record[3], record[4], record[5], record[6], record[7], record[8], pages, names }
end

if fresh then
    return result('fresh', 0, 0)
end
if is_hash(KEYS[2]) then
    local left = redis.call('PTTL', KEYS[2])
    local lock = redis.call('HMGET', KEYS[2], 'pages', 'names', 'taken')
    local current = (tonumber(lock[3]) or 0) > math.max(changed, deleted)
    -- A lock that never expires would stop all loads.
    if demand ~= 'seize' and left > 0 and left <= lock_ms and current then
        if ARGV[6] == 'known' then
            record = none
        end
        return result('locked', tonumber(lock[1]) or 0, tonumber(lock[2]) or 0)
    end
else
    redis.call('DEL', KEYS[2])
end
redis.call('HSET', KEYS[2], 'token', token, 'pages', '0', 'names', '0',
    'taken', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[2], lock_ms)
return result('taken', 0, 0)
