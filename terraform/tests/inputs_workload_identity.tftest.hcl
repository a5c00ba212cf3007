# Each run has one invalid value, which must be rejected, among valid ones.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                       = "aux-service"
  parameter_prefixes         = ["/challenge/"]
  allow_secure_strings       = false
  kms_key_arn                = null
  change_queue_arn           = null
  method                     = "policy-only"
  oidc_issuer_url            = null
  oidc_thumbprints           = null
  ca_certificate             = null
  permissions_boundary_arn   = null
  image_pull_service_account = null
  image_pull_policy_arn      = null
}

run "a_wildcard_for_prefixes" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    parameter_prefixes = ["/*"]
  }

  expect_failures = [var.parameter_prefixes]
}

run "a_prefix_without_a_slash" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    parameter_prefixes = ["challenge"]
  }

  expect_failures = [var.parameter_prefixes]
}

run "a_wildcard_in_a_shared_path" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    parameter_prefixes = ["arn:aws:ssm:eu-west-2:210987654321:parameter/*"]
  }

  expect_failures = [var.parameter_prefixes]
}

run "every_parameter_of_another_account" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    parameter_prefixes = ["arn:aws:ssm:eu-west-2:210987654321:parameter/"]
  }

  expect_failures = [var.parameter_prefixes]
}

run "an_arn_of_another_service" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    parameter_prefixes = ["arn:aws:s3:::bucket/shared"]
  }

  expect_failures = [var.parameter_prefixes]
}

run "no_prefix" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    parameter_prefixes = []
  }

  expect_failures = [var.parameter_prefixes]
}

run "a_method_that_is_none" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    method = "root"
  }

  expect_failures = [var.method]
}

run "oidc_without_an_issuer" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    method = "oidc"
  }

  expect_failures = [var.oidc_issuer_url]
}

run "an_issuer_without_oidc" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    oidc_issuer_url = "https://oidc.example.com"
  }

  expect_failures = [var.oidc_issuer_url]
}

run "an_issuer_without_tls" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    method          = "oidc"
    oidc_issuer_url = "http://oidc.example.com"
  }

  expect_failures = [var.oidc_issuer_url]
}

run "certificates_without_an_authority" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    method = "roles-anywhere"
  }

  expect_failures = [var.ca_certificate]
}

run "a_private_key_for_a_certificate" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    method         = "roles-anywhere"
    ca_certificate = "-----BEGIN PRIVATE KEY-----"
  }

  expect_failures = [var.ca_certificate]
}

run "a_thumbprint_of_another_length" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    method           = "oidc"
    oidc_issuer_url  = "https://oidc.example.com"
    oidc_thumbprints = ["abc"]
  }

  expect_failures = [var.oidc_thumbprints]
}

run "a_service_account_without_its_namespace" {
  command = plan

  module {
    source = "./modules/workload-identity"
  }

  variables {
    image_pull_service_account = "ecr-credentials"
  }

  expect_failures = [var.image_pull_service_account]
}
