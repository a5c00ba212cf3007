# The values of the pipeline's repository variables.

output "aws_region" {
  description = "The region (the pipeline's AWS_REGION, the chart's aws.region)."
  value       = var.region
}

output "github_role_arn" {
  description = "The role that the pipeline assumes (its AWS_ROLE_ARN)."
  value       = module.github_oidc.role_arn
}

output "ecr_registry" {
  description = "The registry, for docker login and the kubelet's credential provider."
  value       = split("/", module.ecr.repository_url)[0]
}

output "ecr_repository" {
  description = "The image repository's name inside the registry."
  value       = module.ecr.repository_name
}

# Values for Helm and Argo CD.

output "ecr_repository_url" {
  description = "The images' address without a tag (the charts' image.repository)."
  value       = module.ecr.repository_url
}

output "ecr_pull_policy_arn" {
  description = "The policy that allows only pulling images: for the nodes, or for the job that renews the pull secret."
  value       = module.ecr.pull_policy_arn
}

output "parameter_prefixes" {
  description = "aux-service's PARAMETER_PREFIXES, comma-separated."
  value       = join(",", var.parameter_prefixes)
}

output "aux_service_policy_arn" {
  description = "The policy with aux-service's permissions, for an identity of your own when workload_identity.method is policy-only."
  value       = module.workload_identity.aux_service_policy_arn
}

output "aux_service_role_arn" {
  description = "aux-service's role (the chart's aws.credentials.roleArn); null without one."
  value       = lookup(module.workload_identity.role_arns, "aux-service", null)
}

output "aux_service_trust_anchor_arn" {
  description = "Roles Anywhere's trust anchor (the charts' aws.credentials.rolesAnywhere.trustAnchorArn); null with another method."
  value       = module.workload_identity.trust_anchor_arn
}

output "aux_service_profile_arn" {
  description = "Roles Anywhere's profile (the charts' aws.credentials.rolesAnywhere.profileArn); null with another method."
  value       = module.workload_identity.profile_arn
}

output "aux_service_user_name" {
  description = "aux-service's IAM user, which needs an access key; null with another method."
  value       = lookup(module.workload_identity.user_names, "aux-service", null)
}

output "image_pull_role_arn" {
  description = "The role of the job that renews the images' pull secret; null without one."
  value       = lookup(module.workload_identity.role_arns, "image-pull", null)
}

output "image_pull_user_name" {
  description = "The IAM user of the job that renews the images' pull secret; null without one."
  value       = lookup(module.workload_identity.user_names, "image-pull", null)
}

output "bucket_name" {
  description = "The bucket."
  value       = module.s3.bucket_name
}

output "parameter_names" {
  description = "The parameters' names. Their values are in no output."
  value       = module.ssm.parameter_names
}

output "parameter_change_queue_url" {
  description = "The queue of parameter changes (the chart's changeQueue.url); null unless parameter_change_queue is on."
  value       = module.ssm.change_queue_url
}
