# The permissions of aux-service: its own calls, on the parameters that it may serve.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  region = data.aws_region.current.region
  parameter_arn = join(":", [
    "arn", data.aws_partition.current.partition, "ssm", local.region, data.aws_caller_identity.current.account_id, "parameter",
  ])

  # A prefix ends at a slash, like in the service: /challenge covers /challenge and all parameters below it, and not /challenge-two.
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
          # Neither action has a resource: AWS lists all names of the account, or none.
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
          # Parameter Store binds each ciphertext to its parameter, so the key decrypts only these parameters.
          StringLike = { "kms:EncryptionContext:PARAMETER_ARN" = local.readable_parameters }
        }
      } if var.allow_secure_strings],
      # Every principal that may read a parameter may use AWS's own key for SecureStrings, so only a denial prevents decryption.
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
