locals {
  issuer           = "token.actions.githubusercontent.com"
  owner            = split("/", var.repository)[0]
  repository       = split("/", var.repository)[1]
  oidc_provider    = one(concat(aws_iam_openid_connect_provider.github[*].arn, data.aws_iam_openid_connect_provider.github[*].arn))
  names_and_ids    = "${local.owner}@${var.owner_id}/${local.repository}@${var.repository_id}"
  allowed_contexts = concat([for b in var.branches : "ref:refs/heads/${b}"], [for e in var.environments : "environment:${e}"])

  # GitHub sends one of two forms: names alone, or, from repositories created or renamed since July 2026, names with numbers.
  # The policy lists both, so that a repository's move to the newer form does not lock its workflow out.
  allowed_subjects = flatten([for c in local.allowed_contexts : ["repo:${var.repository}:${c}", "repo:${local.names_and_ids}:${c}"]])
}

resource "aws_iam_openid_connect_provider" "github" {
  count = var.create_oidc_provider ? 1 : 0

  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

data "aws_iam_openid_connect_provider" "github" {
  count = var.create_oidc_provider ? 0 : 1

  url = "https://${local.issuer}"
}

resource "aws_iam_role" "pipeline" {
  name                 = var.role_name
  description          = "Pushes images from the GitHub repository ${var.repository}"
  max_session_duration = 3600
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = local.oidc_provider }
      # StringEquals compares whole strings, so a wildcard in a variable cannot match another repository.
      # The repository's number excludes a later repository of the same name, for the older form.
      Condition = {
        StringEquals = {
          "${local.issuer}:aud"           = "sts.amazonaws.com"
          "${local.issuer}:sub"           = local.allowed_subjects
          "${local.issuer}:repository_id" = var.repository_id
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "push" {
  name = "push-images"
  role = aws_iam_role.pipeline.name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "LogIn"
        Effect = "Allow"
        # The login has no resource; the statement below limits its token.
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid    = "PushToThisRepository"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:CompleteLayerUpload",
          "ecr:GetDownloadUrlForLayer",
          "ecr:InitiateLayerUpload",
          "ecr:PutImage",
          "ecr:UploadLayerPart",
        ]
        Resource = var.ecr_repository_arn
      },
    ]
  })
}
