# Dashboards and alerts: in step with their generator, typed by Grafana's own schema, tested by promtool. Each expression runs
# against a real Prometheus that scrapes both services during faults.
install_helm
install_kubectl
debian prometheus prometheus
debian redis-server redis-server
install_moto
venv grafana PyYAML==6.0.3
npm_packages grafana-types @grafana/schema@13.2.3 @prometheus-io/lezer-promql@0.315.0 @lezer/common@1.5.5 @lezer/highlight@1.2.5 @lezer/lr@1.4.12 typescript@5.9.3
export GRAFANA_NODE_MODULES=$tools/grafana-types/node_modules

python3 grafana/generate.py --check
PYTHONPATH=$root/checks/charts python3 checks/grafana/files.py
build_services bad_day
python3 checks/grafana/live.py
