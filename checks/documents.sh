# The documents: every link leads somewhere, and every command of the README works as it is written there.
need curl "commands of the README use it"
install_helm
install_kubectl
install_aws_cli
# This environment and its modules are those of checks/charts.sh.
venv charts kubernetes-validate==1.37.0 PyYAML==6.0.3 yamllint==1.38.0

# The figures of docs/performance.md are those of the committed results.
python3 bench/performance_page.py

PYTHONPATH=$root/checks/gitops:$root/checks/charts "$tools/charts/bin/python" checks/documents
