# Each run has one invalid value, which must be rejected, among valid ones.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  role_name                = "pipeline"
  create_oidc_provider     = true
  repository               = "octo-org/gateway"
  repository_id            = "456789"
  owner_id                 = "123456"
  branches                 = ["main"]
  environments             = []
  ecr_repository_arn       = "arn:aws:ecr:eu-west-2:123456789012:repository/kantox-challenge"
  permissions_boundary_arn = null
}

run "a_wildcard_for_branches" {
  command = plan

  module {
    source = "./modules/github-oidc"
  }

  variables {
    branches = ["*"]
  }

  expect_failures = [var.branches]
}

run "a_ref_for_a_branch" {
  command = plan

  module {
    source = "./modules/github-oidc"
  }

  variables {
    branches = ["refs/heads/main"]
  }

  expect_failures = [var.branches]
}

run "nobody_who_may_push" {
  command = plan

  module {
    source = "./modules/github-oidc"
  }

  variables {
    branches = []
  }

  expect_failures = [var.branches]
}

run "a_wildcard_for_environments" {
  command = plan

  module {
    source = "./modules/github-oidc"
  }

  variables {
    environments = ["prod*"]
  }

  expect_failures = [var.environments]
}
