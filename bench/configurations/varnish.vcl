# Varnish in front of a service whose answers are the same for every caller that it lets in.
vcl 4.1;

backend source {
    .host = "@SOURCE_HOST@";
    .port = "@SOURCE_PORT@";
}

sub vcl_recv {
    # Requests that carry Authorization are not looked up by default.
    if (req.method == "GET") {
        return (hash);
    }
}

sub vcl_backend_response {
    # An error in the background would otherwise replace the stale object.
    if (bereq.is_bgfetch && beresp.status >= 500) {
        return (abandon);
    }
    # A stale object is served while the source fails.
    set beresp.grace = 1h;
    # A response that the source itself served stale has no lifetime left. Varnish would not cache it by default.
    if (beresp.status == 200) {
        return (deliver);
    }
}

sub vcl_backend_error {
    if (bereq.is_bgfetch) {
        return (abandon);
    }
}
