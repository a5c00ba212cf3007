variable "name" {
  description = "The repository's name."
  type        = string
}

variable "services" {
  description = "The services whose images share the repository."
  type        = set(string)

  validation {
    condition     = length(var.services) >= 1 && length(var.services) <= 16
    error_message = "Name one to sixteen services: ECR accepts at most fifty expiry rules, and each service has three."
  }

  validation {
    condition     = alltrue([for s in var.services : can(regex("^[a-z0-9]+(-[a-z0-9]+)*$", s))])
    error_message = "A service's name is lower-case letters and digits, joined by single hyphens."
  }

  validation {
    condition     = alltrue(flatten([for a in var.services : [for b in var.services : a == b || !startswith(b, "${a}-")]]))
    error_message = "No service's name may begin with another's and a hyphen, because the expiry rules could not distinguish their tags."
  }
}

variable "images_kept" {
  description = "The number of images of each service to keep, beside those of the tags latest and deployed."
  type        = number

  validation {
    condition     = var.images_kept >= 2 && var.images_kept <= 1000 && floor(var.images_kept) == var.images_kept
    error_message = "images_kept must be a whole number from 2 to 1000: a rollback needs at least one older image."
  }
}

variable "kms_key_arn" {
  description = "The KMS key that encrypts the images; null for AES-256 with AWS's key."
  type        = string
}

variable "force_delete" {
  description = "Allow the deletion of the repository with its images."
  type        = bool
}
