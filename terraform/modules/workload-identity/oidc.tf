# A role for the ServiceAccount of a cluster whose OIDC issuer AWS can reach over HTTPS (IRSA on k3s).

locals {
  issuer = trimsuffix(trimprefix(coalesce(var.oidc_issuer_url, "https://unused"), "https://"), "/")

  oidc_trust = [for provider in aws_iam_openid_connect_provider.cluster : {
    Effect    = "Allow"
    Action    = ["sts:AssumeRoleWithWebIdentity"]
    Principal = { Federated = provider.arn }
    Condition = {
      StringEquals = {
        "${local.issuer}:aud" = "sts.amazonaws.com"
        "${local.issuer}:sub" = "system:serviceaccount:${var.namespace}:${var.service_account}"
      }
    }
  }]
}

resource "aws_iam_openid_connect_provider" "cluster" {
  count = var.method == "oidc" ? 1 : 0

  url             = "https://${local.issuer}"
  client_id_list  = ["sts.amazonaws.com"]
  thumbprint_list = var.oidc_thumbprints
}
