-- Asks for many keys, the n-th most wanted 1/n as often as the first (Zipf, s = 1): wrk -s zipf.lua URL -- KEYS PATTERN
-- The whole sequence is drawn before the start, and is the same in every run.
dofile("done.lua")

local DRAWS = 200000
local sequence, at = {}, 0

function init(arguments)
    local keys, pattern = tonumber(arguments[1]), arguments[2]
    local below, sum, requests = {}, 0, {}
    for rank = 1, keys do
        sum = sum + 1 / rank
        below[rank] = sum
        requests[rank] = wrk.format("GET", pattern:format(rank - 1))
    end
    math.randomseed(1)
    for draw = 1, DRAWS do
        -- The first rank below which the drawn part of the sum lies.
        local part, low, high = math.random() * sum, 1, keys
        while low < high do
            local middle = math.floor((low + high) / 2)
            if below[middle] < part then low = middle + 1 else high = middle end
        end
        sequence[draw] = requests[low]
    end
end

function request()
    at = at % DRAWS + 1
    return sequence[at]
end
