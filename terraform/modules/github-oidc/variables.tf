variable "role_name" {
  description = "The role's name."
  type        = string
}

variable "create_oidc_provider" {
  description = "Create GitHub's OIDC provider, or use the account's existing one."
  type        = bool
}

variable "repository" {
  description = "The repository as OWNER/REPO."
  type        = string
}

variable "repository_id" {
  description = "The repository's number."
  type        = string
}

variable "owner_id" {
  description = "The owner's number."
  type        = string
}

variable "branches" {
  description = "The branches whose workflow runs may assume the role."
  type        = set(string)

  validation {
    condition     = alltrue([for b in var.branches : can(regex("^[A-Za-z0-9._/-]+$", b))])
    error_message = "Each branch must be one branch's name without refs/heads/ and without wildcards, for example main."
  }

  validation {
    condition     = alltrue([for b in var.branches : !startswith(b, "refs/")])
    error_message = "Leave out refs/heads/: a branch's name is enough, for example main."
  }

  validation {
    condition     = length(var.branches) + length(var.environments) > 0
    error_message = "Name at least one branch or one environment; without both, no workflow run could assume the role."
  }
}

variable "environments" {
  description = "The GitHub environments whose jobs may assume the role."
  type        = set(string)

  validation {
    condition     = alltrue([for e in var.environments : can(regex("^[A-Za-z0-9._/ -]+$", e))])
    error_message = "Each environment must be one environment's name: letters, digits, spaces and . _ / - (GitHub rewrites a colon, and wildcards name more than one)."
  }
}

variable "ecr_repository_arn" {
  description = "The image repository that the role may push to."
  type        = string
}

variable "permissions_boundary_arn" {
  description = "The permissions boundary of the role; null for none."
  type        = string
}
