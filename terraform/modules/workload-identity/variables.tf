variable "name" {
  description = "The beginning of every name."
  type        = string
}

variable "parameter_prefixes" {
  description = "The parameter paths to read, and the ARNs of shared parameters."
  type        = set(string)

  validation {
    condition     = length(var.parameter_prefixes) > 0 && alltrue([for p in var.parameter_prefixes : can(regex("^(/[A-Za-z0-9_.-]+)*/?$", p)) || can(regex("^arn:[a-z-]+:ssm:[a-z0-9-]+:[0-9]{12}:parameter(/[A-Za-z0-9_.-]+)+/?$", p))]) && !contains(var.parameter_prefixes, "")
    error_message = "Each of parameter_prefixes is a path that begins with a slash, or the ARN of a shared parameter or path, and has no wildcard, for example /challenge/; / alone means every parameter of this account."
  }
}

variable "allow_secure_strings" {
  description = "Allow the decryption of SecureStrings."
  type        = bool
}

variable "kms_key_arn" {
  description = "The key of the SecureStrings; null for AWS's own, which needs no permission."
  type        = string
}

variable "change_queue_arn" {
  description = "The queue of parameter changes to read; null for none."
  type        = string
}

variable "method" {
  description = "The method by which pods get this identity: policy-only, oidc, roles-anywhere or user."
  type        = string

  validation {
    condition     = contains(["policy-only", "oidc", "roles-anywhere", "user"], var.method)
    error_message = "workload_identity.method must be policy-only, oidc, roles-anywhere or user."
  }
}

variable "oidc_issuer_url" {
  description = "The cluster's OIDC issuer."
  type        = string

  validation {
    condition     = (var.method == "oidc") == (var.oidc_issuer_url != null)
    error_message = "workload_identity.oidc_issuer_url goes with the method oidc, and only with it."
  }

  validation {
    condition     = var.oidc_issuer_url == null || can(regex("^https://[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9._~/-]*)?$", var.oidc_issuer_url))
    error_message = "workload_identity.oidc_issuer_url must be an https URL, as the cluster's tokens name it in iss."
  }
}

variable "oidc_thumbprints" {
  description = "The SHA-1 thumbprints of the issuer's certificate authority; null for a public one."
  type        = list(string)

  validation {
    condition     = var.oidc_thumbprints == null || alltrue([for t in coalesce(var.oidc_thumbprints, []) : can(regex("^[0-9a-fA-F]{40}$", t))])
    error_message = "workload_identity.oidc_thumbprints are 40 hexadecimal digits each."
  }
}

variable "ca_certificate" {
  description = "The PEM of the authority that signs the pods' certificates."
  type        = string

  validation {
    condition     = (var.method == "roles-anywhere") == (var.ca_certificate != null)
    error_message = "workload_identity.ca_certificate goes with the method roles-anywhere, and only with it."
  }

  validation {
    condition     = var.ca_certificate == null || can(regex("(?s)^\\s*-----BEGIN CERTIFICATE-----.+-----END CERTIFICATE-----\\s*$", var.ca_certificate))
    error_message = "workload_identity.ca_certificate must be a certificate in PEM, without its private key."
  }
}

variable "image_pull_service_account" {
  description = "The ServiceAccount, as NAMESPACE/NAME, of the job that renews the images' pull secret; null for none."
  type        = string

  validation {
    condition     = var.image_pull_service_account == null || can(regex("^[a-z0-9-]+/[a-z0-9.-]+$", var.image_pull_service_account))
    error_message = "workload_identity.image_pull_service_account must be NAMESPACE/NAME, for example kube-system/ecr-credentials."
  }
}

variable "image_pull_policy_arn" {
  description = "The policies of that job."
  type        = string
}

variable "permissions_boundary_arn" {
  description = "The permissions boundary of the role or user; null for none."
  type        = string
}
