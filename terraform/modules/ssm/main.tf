resource "aws_ssm_parameter" "string" {
  #checkov:skip=CKV2_AWS_34:String parameters hold no secrets by definition; secrets go to secure_parameters, which are encrypted.
  for_each = var.parameters

  name        = each.key
  description = each.value.description
  type        = "String"
  value       = each.value.value
}

resource "aws_ssm_parameter" "secure" {
  for_each = var.secure_parameters

  name        = each.key
  description = each.value.description
  type        = "SecureString"
  key_id      = var.kms_key_arn

  # The value is write-only: Terraform sends it and does not store it. Terraform writes it again only when the version changes.
  value_wo         = var.secure_parameter_values[each.key]
  value_wo_version = each.value.version
}
