terraform {
  # 1.11 introduced write-only arguments (the state does not contain values of SecureStrings) and the lock file of the S3 backend.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # 6.8 introduced the tag filters, by which `<service>-latest` moves while every other tag is immutable.
      version = "~> 6.8"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = merge({ Project = var.name, ManagedBy = "terraform" }, var.tags)
  }
}
