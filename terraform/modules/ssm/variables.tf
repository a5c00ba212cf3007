variable "parameters" {
  description = "String parameters by name."
  type = map(object({
    value       = string
    description = optional(string)
  }))

  validation {
    condition     = alltrue([for name, p in var.parameters : can(regex("^(/[A-Za-z0-9_.-]+){1,15}$", name)) && p.value != ""])
    error_message = "A parameter's name is 1 to 15 levels of letters, digits and _ . - that each begin with a slash, and its value is not empty."
  }
}

variable "secure_parameters" {
  description = "SecureString parameters by name; their values are in secure_parameter_values."
  type = map(object({
    version     = number
    description = optional(string)
  }))

  validation {
    condition     = alltrue([for name in keys(var.secure_parameters) : can(regex("^(/[A-Za-z0-9_.-]+){1,15}$", name))])
    error_message = "A parameter's name is 1 to 15 levels of letters, digits and _ . - that each begin with a slash."
  }

  validation {
    condition     = length(setintersection(keys(var.secure_parameters), keys(var.parameters))) == 0
    error_message = "A name can be in parameters or in secure_parameters, not in both."
  }
}

variable "secure_parameter_values" {
  description = "The values of secure_parameters by name."
  type        = map(string)
  sensitive   = true
  ephemeral   = true
}

variable "kms_key_arn" {
  description = "The KMS key of the SecureStrings; null for AWS's own (alias/aws/ssm)."
  type        = string
}

variable "change_queue" {
  description = "The name of the queue of parameter changes, and the prefixes that it covers; null for none."
  type = object({
    name     = string
    prefixes = set(string)
  })
}
