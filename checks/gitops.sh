# Argo CD's applications without a cluster: they are rendered, typed and resolved, their sources are rendered as Argo CD
# renders them, Prometheus has to discover the installed monitors, an engine has to work with the configuration of
# helm/valkey, and the commands of docs/install.md have to work.
# The charts of the Prometheus community and of Valkey are in no package registry. checks/run.sh gitops --download fetches and
# renders them.
need git "Argo CD reads files from Git"
debian openssl openssl
debian ssh-keygen openssh-client
debian amtool prometheus-alertmanager
debian redis-server redis-server
install_helm
install_kubectl
install_custom_resource_types
# This environment and its modules are those of checks/charts.sh.
venv charts kubernetes-validate==1.37.0 PyYAML==6.0.3 yamllint==1.38.0

PYTHONPATH=$root/checks/charts "$tools/charts/bin/python" checks/gitops "$@"
