# What aux-service may do: the calls that it makes, on the parameters that it may show.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  region = data.aws_region.current.region
  parameter_arn = join(":", [
    "arn", data.aws_partition.current.partition, "ssm", local.region, data.aws_caller_identity.current.account_id, "parameter",
  ])

  # As in the service, a prefix ends at a slash: /challenge names /challenge and all below it, and not /challenge-two.
  paths = [for p in sort(var.parameter_prefixes) : trimsuffix(p, "/")]
  readable_parameters = flatten([for p in local.paths :
    p == "" ? ["${local.parameter_arn}/*"] : ["${local.parameter_arn}${p}", "${local.parameter_arn}${p}/*"]
  ])
}

resource "aws_iam_policy" "aux_service" {
  name        = "${var.name}-aux-service"
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
          Action   = ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"]
          Resource = local.readable_parameters
        },
      ],
      [for key in compact([var.kms_key_arn]) : {
        Sid      = "DecryptSecureStrings"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = key
        Condition = {
          StringEquals = { "kms:ViaService" = "ssm.${local.region}.amazonaws.com" }
          # Parameter Store binds each ciphertext to its parameter: the key opens these parameters and nothing else.
          StringLike = { "kms:EncryptionContext:PARAMETER_ARN" = local.readable_parameters }
        }
      } if var.allow_secure_strings],
      # AWS's own key for SecureStrings is open to all who may read a parameter, so that granting nothing would not refuse it.
      var.allow_secure_strings ? [] : [{
        Sid       = "RefuseSecureStrings"
        Effect    = "Deny"
        Action    = "kms:Decrypt"
        Resource  = "*"
        Condition = { StringEquals = { "kms:ViaService" = "ssm.${local.region}.amazonaws.com" } }
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
