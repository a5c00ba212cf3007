# Each run has one invalid value, which must be rejected, among valid ones.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  github_repository       = "octo-org/gateway"
  github_repository_id    = "456789"
  github_owner_id         = "123456"
  secure_parameter_values = {}
}

run "a_wildcard_for_repositories" {
  command = plan

  variables {
    github_repository = "octo-org/*"
  }

  expect_failures = [var.github_repository]
}

run "a_repository_without_its_owner" {
  command = plan

  variables {
    github_repository = "gateway"
  }

  expect_failures = [var.github_repository]
}

run "a_name_for_the_repositorys_number" {
  command = plan

  variables {
    github_repository_id = "gateway"
  }

  expect_failures = [var.github_repository_id]
}

run "a_name_for_the_owners_number" {
  command = plan

  variables {
    github_owner_id = "octo-org"
  }

  expect_failures = [var.github_owner_id]
}

run "a_region_that_cannot_be" {
  command = plan

  variables {
    region = "London"
  }

  expect_failures = [var.region]
}

run "a_name_with_capitals" {
  command = plan

  variables {
    name = "Kantox"
  }

  expect_failures = [var.name]
}

run "an_alias_for_a_key" {
  command = plan

  variables {
    kms_key_arn = "alias/mine"
  }

  expect_failures = [var.kms_key_arn]
}

run "a_role_for_a_boundary" {
  command = plan

  variables {
    permissions_boundary_arn = "arn:aws:iam::123456789012:role/admin"
  }

  expect_failures = [var.permissions_boundary_arn]
}

run "a_region_without_its_number" {
  command = plan

  variables {
    region = "eu-west"
  }

  expect_failures = [var.region]
}

run "a_queue_for_shared_parameters_alone" {
  command = plan

  variables {
    parameter_prefixes     = ["arn:aws:ssm:eu-west-2:210987654321:parameter/shared/"]
    parameter_change_queue = true
  }

  expect_failures = [var.parameter_change_queue]
}
