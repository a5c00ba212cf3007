output "aux_service_policy_arn" {
  description = "The policy with aux-service's permissions."
  value       = aws_iam_policy.aux_service.arn
}

output "role_arns" {
  description = "The roles by workload: aux-service, and image-pull if it is set."
  value       = { for name, role in aws_iam_role.this : name => role.arn }
}

output "user_names" {
  description = "The users by workload."
  value       = { for name, user in aws_iam_user.this : name => user.name }
}

output "trust_anchor_arn" {
  description = "Roles Anywhere's trust anchor; null without one."
  value       = one(aws_rolesanywhere_trust_anchor.cluster[*].arn)
}

output "profile_arn" {
  description = "Roles Anywhere's profile; null without one."
  value       = one(aws_rolesanywhere_profile.cluster[*].arn)
}
