# Each run has one invalid value, which must be rejected, among valid ones.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name         = "kantox-challenge"
  services     = ["main-api"]
  images_kept  = 30
  kms_key_arn  = null
  force_delete = false
}

run "more_services_than_rules" {
  command = plan

  module {
    source = "./modules/ecr"
  }

  variables {
    services = [for i in range(17) : "s${i}"]
  }

  expect_failures = [var.services]
}

run "services_whose_tags_overlap" {
  command = plan

  module {
    source = "./modules/ecr"
  }

  variables {
    services = ["api", "api-admin"]
  }

  expect_failures = [var.services]
}

run "a_service_with_a_wildcard" {
  command = plan

  module {
    source = "./modules/ecr"
  }

  variables {
    services = ["main-*"]
  }

  expect_failures = [var.services]
}

run "nothing_to_roll_back_to" {
  command = plan

  module {
    source = "./modules/ecr"
  }

  variables {
    images_kept = 1
  }

  expect_failures = [var.images_kept]
}
