"""The compared programs."""

from __future__ import annotations

from peers import bare_hyper, nginx_cache, nginx_cache_tuned, nginx_pass, nginx_return, varnish
from services import aux_service, fleet_alone, fleet_shared, main_api, main_api_pass, waiting_aux, waiting_main
from stage import Subject

SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("aux-service", "aux-service", aux_service, ours=True),
        Subject("main-api", "main-api", main_api, ours=True),
        Subject("main-api-pass", "main-api, CACHE=off", main_api_pass, asks_source=True, ours=True),
        Subject("fleet-alone", "replicas on their own", fleet_alone, ours=True),
        Subject("fleet-shared", "replicas with a shared cache", fleet_shared, ours=True),
        Subject("waiting-aux", "aux-service, requests wait", waiting_aux, ours=True),
        Subject("waiting-main", "main-api, requests wait", waiting_main, ours=True),
        Subject("nginx-cache", "nginx cache", nginx_cache),
        Subject("nginx-cache-tuned", "nginx cache, tuned", nginx_cache_tuned),
        Subject("varnish", "Varnish", varnish),
        Subject("nginx-pass", "nginx proxy_pass", nginx_pass, asks_source=True),
        Subject("nginx-return", "nginx return 200 (limit)", nginx_return, limit=True),
        Subject("hyper", "bare hyper (limit)", bare_hyper, limit=True),
    )
}
