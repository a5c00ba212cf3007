output "repository_arn" {
  description = "The repository's ARN."
  value       = aws_ecr_repository.images.arn
}

output "repository_name" {
  description = "The repository's name inside the registry."
  value       = aws_ecr_repository.images.name
}

output "repository_url" {
  description = "The images' address without a tag."
  value       = aws_ecr_repository.images.repository_url
}

output "pull_policy_arn" {
  description = "The policy that allows pulling images."
  value       = aws_iam_policy.pull.arn
}
