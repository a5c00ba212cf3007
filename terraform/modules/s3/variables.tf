variable "bucket_name" {
  description = "The bucket's name."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name must be 3 to 63 lower-case letters, digits, dots and hyphens."
  }
}

variable "kms_key_arn" {
  description = "The KMS key that encrypts the objects; null for AES-256 with S3's key."
  type        = string
  default     = null
}

variable "force_destroy" {
  description = "Allow the deletion of the bucket with its objects."
  type        = bool
  default     = false
}
