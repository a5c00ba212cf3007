-- Prints as JSON, below wrk's own report, what it has counted. Times are in microseconds.
-- The other scripts load this one; it has no function that wrk would call for each request.

function done(summary, latency, _)
    local errors = summary.errors
    io.write(string.format(
        '{"requests": %d, "duration_us": %d, "bytes": %d, "bad_status": %d, "broken": %d, "p50_us": %d, "p99_us": %d}\n',
        summary.requests, summary.duration, summary.bytes, errors.status,
        errors.connect + errors.read + errors.write + errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
