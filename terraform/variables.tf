# The repository that may push images. These variables are required, because there is no safe default.

variable "github_repository" {
  description = "The GitHub repository whose workflow pushes images, as OWNER/REPO."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "github_repository must name one repository as OWNER/REPO, without wildcards, for example octo-org/gateway."
  }
}

variable "github_repository_id" {
  description = "The repository's number, which no other repository ever gets: gh api repos/OWNER/REPO --jq .id"
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]+$", var.github_repository_id))
    error_message = "github_repository_id must be the repository's number: gh api repos/OWNER/REPO --jq .id"
  }
}

variable "github_owner_id" {
  description = "The owner's number: gh api repos/OWNER/REPO --jq .owner.id"
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]+$", var.github_owner_id))
    error_message = "github_owner_id must be the owner's number: gh api repos/OWNER/REPO --jq .owner.id"
  }
}

# All other variables have a default.

variable "region" {
  description = "The AWS region of every resource."
  type        = string
  default     = "eu-west-2"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "region must be an AWS region, for example eu-west-2."
  }
}

variable "name" {
  description = "The name of the image repository, and the beginning of every other name that is not set by a variable of its own."
  type        = string
  default     = "kantox-challenge"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 32 lower-case letters, digits and hyphens, beginning with a letter."
  }
}

variable "tags" {
  description = "Tags for every resource, beside Project and ManagedBy."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "force_destroy" {
  description = "Allow terraform destroy to delete the bucket with its objects and the image repository with its images."
  type        = bool
  default     = false
  nullable    = false
}

variable "permissions_boundary_arn" {
  description = "The permissions boundary of every role and user, for accounts that require one."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+$", var.permissions_boundary_arn))
    error_message = "permissions_boundary_arn must be the ARN of an IAM policy."
  }
}

variable "kms_key_arn" {
  description = "A KMS key of your own for the bucket, the images and the SecureStrings. Without it AWS's own keys encrypt them."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "kms_key_arn must be the ARN of a key (not of an alias)."
  }
}

# The pipeline

variable "github_branches" {
  description = "The branches whose workflow runs may push images."
  type        = set(string)
  default     = ["main"]
  nullable    = false
}

variable "github_environments" {
  description = "The GitHub environments whose jobs may push images. A job with an environment no longer names its branch: restrict the environment to branches in GitHub."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "create_github_oidc_provider" {
  description = "Create GitHub's OIDC provider. An account can have it only once: set false if it exists already."
  type        = bool
  default     = true
  nullable    = false
}

variable "services" {
  description = "The services whose images share the repository, tagged SERVICE-SHA and SERVICE-latest."
  type        = set(string)
  default     = ["aux-service", "main-api"]
  nullable    = false
}

variable "images_kept" {
  description = "The number of images of each service that the repository keeps, beside the deployed one. Older ones expire, so keep enough for rollbacks."
  type        = number
  default     = 30
  nullable    = false
}

# The data of the services

variable "bucket_name" {
  description = "The bucket's name. Names are unique in all of AWS: choose another if this one is taken."
  type        = string
  default     = "kantox-challenge-bucket"
  nullable    = false
}

variable "parameters" {
  description = "String parameters beside /challenge/kantox: name to value. Their values must not be secret: the state and the plan contain them."
  type = map(object({
    value       = string
    description = optional(string)
  }))
  default  = {}
  nullable = false
}

variable "secure_parameters" {
  description = "SecureString parameters: name to description and version. Their values come from secure_parameter_values; raise the version to write a new value."
  type = map(object({
    version     = number
    description = optional(string)
  }))
  default  = {}
  nullable = false
}

variable "secure_parameter_values" {
  description = "The values of secure_parameters by name. The state, plans and outputs never contain them; set them in TF_VAR_secure_parameter_values."
  type        = map(string)
  default     = {}
  nullable    = false
  sensitive   = true
  ephemeral   = true
}

# The permissions and the identity of aux-service

variable "parameter_prefixes" {
  description = "The parameter paths that aux-service may read, and the ARNs of parameters that other accounts share: the same list as its PARAMETER_PREFIXES."
  type        = set(string)
  default     = ["/challenge/"]
  nullable    = false
}

variable "allow_secure_strings" {
  description = "Allow aux-service to decrypt SecureStrings below the prefixes: the same as its ALLOW_SECURE_STRINGS."
  type        = bool
  default     = false
  nullable    = false
}

variable "workload_identity" {
  description = <<-EOT
    The AWS identity of aux-service's pods.
    method is one of: policy-only (only the policy, for an identity of your own), oidc (a role for the cluster's own OIDC issuer),
    roles-anywhere (a role for X.509 certificates), user (an IAM user without an access key, for trials).
    oidc needs oidc_issuer_url, and oidc_thumbprints unless the issuer's certificate comes from a public authority.
    roles-anywhere needs ca_certificate, the PEM of the authority that signs the pods' certificates, whose common name is the ServiceAccount's name.
    image_pull_service_account, as NAMESPACE/NAME, gives the job that renews the images' pull secret an identity of its own, by the same method.
  EOT
  type = object({
    method                     = optional(string, "policy-only")
    oidc_issuer_url            = optional(string)
    oidc_thumbprints           = optional(list(string))
    ca_certificate             = optional(string)
    image_pull_service_account = optional(string)
  })
  default  = {}
  nullable = false
}

variable "parameter_change_queue" {
  description = "Create a queue of parameter changes, which aux-service reads (the chart's changeQueue.url), and allow aux-service to read it."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = !var.parameter_change_queue || anytrue([for p in var.parameter_prefixes : startswith(p, "/")])
    error_message = "parameter_change_queue needs a path of this account in parameter_prefixes, because AWS sends no events of shared parameters."
  }
}
