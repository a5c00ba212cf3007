output "parameter_names" {
  description = "The parameters' names."
  value       = sort(concat(keys(aws_ssm_parameter.string), keys(aws_ssm_parameter.secure)))
}

output "change_queue_arn" {
  description = "The queue's ARN; null without one."
  value       = one(values(aws_sqs_queue.changes)[*].arn)
}

output "change_queue_url" {
  description = "The queue's URL; null without one."
  value       = one(values(aws_sqs_queue.changes)[*].url)
}
