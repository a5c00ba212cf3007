module "ecr" {
  source = "./modules/ecr"

  name         = var.name
  services     = var.services
  images_kept  = var.images_kept
  kms_key_arn  = var.kms_key_arn
  force_delete = var.force_destroy
}

module "github_oidc" {
  source = "./modules/github-oidc"

  role_name                = "${var.name}-github"
  create_oidc_provider     = var.create_github_oidc_provider
  repository               = var.github_repository
  repository_id            = var.github_repository_id
  owner_id                 = var.github_owner_id
  branches                 = var.github_branches
  environments             = var.github_environments
  ecr_repository_arn       = module.ecr.repository_arn
  permissions_boundary_arn = var.permissions_boundary_arn
}

module "s3" {
  source = "./modules/s3"

  bucket_name   = var.bucket_name
  kms_key_arn   = var.kms_key_arn
  force_destroy = var.force_destroy
}

module "ssm" {
  source = "./modules/ssm"

  parameters              = merge({ "/challenge/kantox" = { value = "cloud-engineer" } }, var.parameters)
  secure_parameters       = var.secure_parameters
  secure_parameter_values = var.secure_parameter_values
  kms_key_arn             = var.kms_key_arn

  change_queue = var.parameter_change_queue ? {
    name = "${var.name}-parameter-changes"
    # AWS sends the events of this account's parameters only.
    prefixes = [for p in var.parameter_prefixes : p if startswith(p, "/")]
  } : null
}

module "workload_identity" {
  source = "./modules/workload-identity"

  name                       = var.name
  parameter_prefixes         = var.parameter_prefixes
  allow_secure_strings       = var.allow_secure_strings
  kms_key_arn                = var.kms_key_arn
  change_queue_arn           = module.ssm.change_queue_arn
  method                     = var.workload_identity.method
  oidc_issuer_url            = var.workload_identity.oidc_issuer_url
  oidc_thumbprints           = var.workload_identity.oidc_thumbprints
  ca_certificate             = var.workload_identity.ca_certificate
  image_pull_service_account = var.workload_identity.image_pull_service_account
  image_pull_policy_arn      = module.ecr.pull_policy_arn
  permissions_boundary_arn   = var.permissions_boundary_arn
}
