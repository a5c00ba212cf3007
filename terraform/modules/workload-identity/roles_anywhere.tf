# Roles for pods that hold an X.509 certificate of the cluster's own authority.

locals {
  certificate_trust = { for name, workload in local.workloads : name => jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"]
      Principal = { Service = "rolesanywhere.amazonaws.com" }
      Condition = {
        ArnEquals    = { "aws:SourceArn" = one(aws_rolesanywhere_trust_anchor.cluster[*].arn) }
        StringEquals = { "aws:PrincipalTag/x509Subject/CN" = workload.account }
      }
    }]
  }) }
}

resource "aws_rolesanywhere_trust_anchor" "cluster" {
  count = var.method == "roles-anywhere" ? 1 : 0

  name    = var.name
  enabled = true

  source {
    source_type = "CERTIFICATE_BUNDLE"

    source_data {
      x509_certificate_data = var.ca_certificate
    }
  }
}

resource "aws_rolesanywhere_profile" "cluster" {
  count = var.method == "roles-anywhere" ? 1 : 0

  name             = var.name
  enabled          = true
  role_arns        = values(aws_iam_role.this)[*].arn
  duration_seconds = 3600
}
