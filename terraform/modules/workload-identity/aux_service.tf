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
  paths = [for p in sort(var.parameter_prefixes) : trimsuffix(p, "/") if startswith(p, "/")]
  readable_parameters = flatten([for p in local.paths :
    p == "" ? ["${local.parameter_arn}/*"] : ["${local.parameter_arn}${p}", "${local.parameter_arn}${p}/*"]
  ])

  # Parameters that other accounts share with this one.
  shared_arns       = [for p in sort(var.parameter_prefixes) : trimsuffix(p, "/") if startswith(p, "arn:")]
  shared_parameters = flatten([for arn in local.shared_arns : [arn, "${arn}/*"]])

  # KMS sees the caller's service by a name of the partition, for example ssm.cn-north-1.amazonaws.com.cn.
  through_ssm = distinct(["ssm.${local.region}.amazonaws.com", "ssm.${local.region}.${data.aws_partition.current.dns_suffix}"])
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
      ],
      [for arns in [local.readable_parameters] : {
        Sid      = "ReadParameters"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter", "ssm:GetParameters", "ssm:GetParametersByPath"]
        Resource = arns
      } if length(arns) > 0],
      [for arns in [local.shared_parameters] : {
        Sid    = "ReadSharedParameters"
        Effect = "Allow"
        # AWS cannot list another account's parameters by their path.
        Action   = ["ssm:GetParameter", "ssm:GetParameters"]
        Resource = arns
      } if length(arns) > 0],
      [for key in compact([var.kms_key_arn]) : {
        Sid      = "DecryptSecureStrings"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = key
        Condition = {
          StringEquals = { "kms:ViaService" = local.through_ssm }
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
        Condition = { StringEquals = { "kms:ViaService" = local.through_ssm } }
      }],
      [for queue in [var.change_queue_arn] : {
        Sid      = "ReceiveChanges"
        Effect   = "Allow"
        Action   = ["sqs:DeleteMessage", "sqs:ReceiveMessage"]
        Resource = queue
      } if queue != null],
    )
  })
}
