# Roles for the ServiceAccounts of a cluster whose OIDC issuer AWS can reach over HTTPS (IRSA on k3s).

locals {
  issuer = trimsuffix(trimprefix(coalesce(var.oidc_issuer_url, "https://none"), "https://"), "/")

  oidc_trust = { for name, workload in local.workloads : name => jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = one(aws_iam_openid_connect_provider.cluster[*].arn) }
      Condition = {
        StringEquals = {
          "${local.issuer}:aud" = "sts.amazonaws.com"
          "${local.issuer}:sub" = "system:serviceaccount:${workload.namespace}:${workload.account}"
        }
      }
    }]
  }) }
}

resource "aws_iam_openid_connect_provider" "cluster" {
  count = var.method == "oidc" ? 1 : 0

  url             = "https://${local.issuer}"
  client_id_list  = ["sts.amazonaws.com"]
  thumbprint_list = var.oidc_thumbprints
}
