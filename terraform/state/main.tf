# The bucket for the state of the main configuration. Its own state stays on the machine that created it; docs/cloud.md gives the reason.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.8"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { Project = "kantox-challenge", ManagedBy = "terraform" }
  }
}

variable "region" {
  description = "The AWS region of the state's bucket."
  type        = string
  default     = "eu-west-2"
  nullable    = false
}

variable "bucket_name" {
  description = "The bucket's name; null for a name with the account's number."
  type        = string
  default     = null
}

variable "force_destroy" {
  description = "Allow terraform destroy to delete the bucket with every state in it."
  type        = bool
  default     = false
  nullable    = false
}

data "aws_caller_identity" "current" {}

module "bucket" {
  source = "../modules/s3"

  force_destroy = var.force_destroy
  bucket_name   = coalesce(var.bucket_name, "terraform-state-${data.aws_caller_identity.current.account_id}-${var.region}")
}

output "backend" {
  description = "The file that makes the main configuration store its state here: terraform output -raw backend > ../backend.tf"
  value       = <<-EOT
    terraform {
      backend "s3" {
        bucket       = "${module.bucket.bucket_name}"
        key          = "kantox-challenge/terraform.tfstate"
        region       = "${var.region}"
        encrypt      = true
        use_lockfile = true
      }
    }
  EOT
}
