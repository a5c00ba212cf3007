data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  parameter_arn = join(":", [
    "arn", data.aws_partition.current.partition, "ssm", data.aws_region.current.region, data.aws_caller_identity.current.account_id, "parameter",
  ])

  # A path is a parameter's name up to a slash: /challenge names /challenge and all below it, and not /challenge-two.
  paths = [for p in sort(var.parameter_prefixes) : trimsuffix(p, "/")]
  readable_parameters = flatten([for p in local.paths :
    p == "" ? ["${local.parameter_arn}/*"] : ["${local.parameter_arn}${p}", "${local.parameter_arn}${p}/*"]
  ])
}

resource "aws_iam_policy" "this" {
  name        = var.name
  description = "Lists buckets and parameters and reads the parameters below ${join(", ", sort(var.parameter_prefixes))}"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid    = "ListNames"
          Effect = "Allow"
          # Neither action knows a resource: AWS lists all names of the account, or none.
          Action   = ["s3:ListAllMyBuckets", "ssm:DescribeParameters"]
          Resource = "*"
        },
        {
          Sid      = "ReadParameters"
          Effect   = "Allow"
          Action   = ["ssm:GetParameter", "ssm:GetParametersByPath"]
          Resource = local.readable_parameters
        },
      ],
      [for key in compact([var.kms_key_arn]) : {
        Sid      = "DecryptSecureStrings"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = key
        Condition = {
          StringEquals = { "kms:ViaService" = "ssm.${data.aws_region.current.region}.amazonaws.com" }
          # Parameter Store binds each ciphertext to its parameter: the key opens these parameters and nothing else.
          StringLike = { "kms:EncryptionContext:PARAMETER_ARN" = local.readable_parameters }
        }
      } if var.allow_secure_strings],
      # AWS's own key for SecureStrings is open to all who may read a parameter, so that granting nothing would not refuse it.
      var.allow_secure_strings ? [] : [{
        Sid      = "RefuseSecureStrings"
        Effect   = "Deny"
        Action   = "kms:Decrypt"
        Resource = "*"
      }],
      [for queue in [var.change_queue_arn] : {
        Sid      = "HearOfChanges"
        Effect   = "Allow"
        Action   = ["sqs:DeleteMessage", "sqs:ReceiveMessage"]
        Resource = queue
      } if queue != null],
    )
  })
}

locals {
  trust = {
    oidc           = one(local.oidc_trust)
    roles-anywhere = one(local.certificate_trust)
  }
}

resource "aws_iam_role" "this" {
  count = contains(keys(local.trust), var.method) ? 1 : 0

  name                 = var.name
  description          = "aux-service in Kubernetes"
  max_session_duration = 3600
  permissions_boundary = var.permissions_boundary_arn

  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [local.trust[var.method]]
  })
}

resource "aws_iam_role_policy_attachment" "this" {
  count = length(aws_iam_role.this)

  role       = aws_iam_role.this[0].name
  policy_arn = aws_iam_policy.this.arn
}
