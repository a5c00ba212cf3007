output "policy_arn" {
  description = "What aux-service may do."
  value       = aws_iam_policy.this.arn
}

output "role_arn" {
  description = "The role; null without one."
  value       = one(aws_iam_role.this[*].arn)
}

output "user_name" {
  description = "The user; null without one."
  value       = one(aws_iam_user.this[*].name)
}

output "trust_anchor_arn" {
  description = "Roles Anywhere's trust anchor; null without one."
  value       = one(aws_rolesanywhere_trust_anchor.cluster[*].arn)
}

output "profile_arn" {
  description = "Roles Anywhere's profile; null without one."
  value       = one(aws_rolesanywhere_profile.cluster[*].arn)
}
