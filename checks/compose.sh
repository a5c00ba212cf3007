# compose.yaml without Docker: its schema, files and references, and its programs with exactly its variables, commands and files.
# checks/run.sh compose --update writes compose/rules.yaml instead. --docker builds and starts the containers, and tests them.
venv compose check-jsonschema==0.39.0 PyYAML==6.0.3
debian prometheus prometheus
export PYTHONPATH=$root/checks/charts

if [ "${1:-}" = --update ]; then
    "$tools/compose/bin/python" checks/compose/files.py --update
    exit 0
fi

say "the schema of the Compose Specification"
check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
say "files and references"
"$tools/compose/bin/python" checks/compose/files.py
# Docker's own reading of the file, where Docker is.
if docker compose version >/dev/null 2>&1; then docker compose config --quiet; fi

install_moto
if [ "${1:-}" = --docker ]; then
    need docker "with Compose 2"
    say "the containers of docker compose up"
    status=0
    { docker compose up --detach --build && "$tools/moto/bin/python" checks/compose/running.py --docker; } ||
        { status=1 && docker compose logs --tail 30; }
    docker compose down --volumes
    exit $status
fi

debian ip iproute2
debian redis-server redis-server
debian wget wget
build_services
say "the programs with the variables of compose.yaml"
as_root=()
[ "$(id -u)" = 0 ] || as_root=(--map-root-user)
unshare "${as_root[@]}" --net --mount "$tools/moto/bin/python" checks/compose/running.py
