terraform {
  # 1.11 brought write-only arguments (values of SecureStrings stay out of the state) and the lock file of the S3 backend.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # 6.8 brought the tag filters that let `<service>-latest` move while every other image tag stays where it is.
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
