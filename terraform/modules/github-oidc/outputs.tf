output "role_arn" {
  description = "The role that the workflow assumes."
  value       = aws_iam_role.pipeline.arn
}
