mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  github_repository       = "octo-org/gateway"
  github_repository_id    = "456789"
  github_owner_id         = "123456"
  secure_parameter_values = { "/challenge/token" = "a-secret" }
}

run "the_defaults_are_safe" {
  module {
    source = "./modules/s3"
  }

  variables {
    bucket_name = "kantox-challenge-bucket"
  }

  assert {
    condition     = !aws_s3_bucket.this.force_destroy
    error_message = "a bucket with objects must survive terraform destroy"
  }

  assert {
    condition     = alltrue([for k in ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"] : aws_s3_bucket_public_access_block.this[k]])
    error_message = "the bucket must be closed to the public in every way"
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "the bucket must have versioning"
  }

  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default).sse_algorithm == "AES256"
    error_message = "the bucket must be encrypted"
  }
}

run "a_service_has_two_tags_that_move" {
  module {
    source = "./modules/ecr"
  }

  variables {
    name         = "kantox-challenge"
    services     = ["main-api", "aux-service"]
    images_kept  = 30
    kms_key_arn  = null
    force_delete = false
  }

  assert {
    condition     = aws_ecr_repository.images.image_tag_mutability == "IMMUTABLE_WITH_EXCLUSION"
    error_message = "tags must be immutable"
  }

  assert {
    condition     = toset(aws_ecr_repository.images.image_tag_mutability_exclusion_filter[*].filter) == toset(["*-deployed", "*-latest"])
    error_message = "only the tags latest and deployed of each service may move"
  }

  assert {
    condition     = aws_ecr_repository.images.image_scanning_configuration[0].scan_on_push
    error_message = "images must be scanned when they are pushed"
  }

  assert {
    condition = [for r in jsondecode(aws_ecr_lifecycle_policy.images.policy).rules : [r.rulePriority, r.selection.countNumber, try(r.selection.tagPrefixList[0], r.selection.tagStatus)]] == [
      [1, 1, "aux-service-deployed"], [2, 1, "aux-service-latest"], [3, 1, "main-api-deployed"], [4, 1, "main-api-latest"],
      [101, 30, "aux-service-"], [102, 30, "main-api-"], [201, 1, "untagged"],
    ]
    error_message = "the rules are the tags that move, then the last images of each service, then untagged images"
  }
}

run "the_challenge_has_its_resources" {
  assert {
    condition     = module.s3.bucket_name == "kantox-challenge-bucket"
    error_message = "the bucket must have its name"
  }

  assert {
    condition     = output.parameter_names == tolist(["/challenge/kantox"])
    error_message = "the parameter must exist"
  }

  assert {
    condition     = output.ecr_registry == "123456789012.dkr.ecr.eu-west-2.amazonaws.com" && output.ecr_repository == "kantox-challenge"
    error_message = "the outputs must have the registry and the repository"
  }

  assert {
    condition     = output.aws_region == "eu-west-2" && output.parameter_prefixes == "/challenge/"
    error_message = "the outputs must have the region and the prefixes"
  }
}

run "a_region_of_another_partition" {
  variables {
    region = "eusc-de-east-1"
  }

  assert {
    condition     = output.aws_region == "eusc-de-east-1"
    error_message = "the region must be accepted"
  }
}

run "a_region_that_aws_may_add" {
  variables {
    region = "antarctica-southwest-12"
  }

  assert {
    condition     = output.aws_region == "antarctica-southwest-12"
    error_message = "the region must be accepted"
  }
}

run "the_queue_hears_of_this_accounts_parameters" {
  variables {
    parameter_prefixes     = ["/challenge/", "arn:aws:ssm:eu-west-2:210987654321:parameter/shared/"]
    parameter_change_queue = true
  }

  assert {
    condition     = output.parameter_prefixes == "/challenge/,arn:aws:ssm:eu-west-2:210987654321:parameter/shared/" && output.parameter_change_queue_url != null
    error_message = "the service's prefixes must have the shared path, and the queue must exist"
  }
}

run "more_parameters_leave_the_first_in_place" {
  variables {
    parameters        = { "/challenge/greeting" = { value = "hello" } }
    secure_parameters = { "/challenge/token" = { version = 1 } }
  }

  assert {
    condition     = output.parameter_names == tolist(["/challenge/greeting", "/challenge/kantox", "/challenge/token"])
    error_message = "parameters must contain the default and the added ones"
  }
}

run "a_secret_stays_out_of_the_state" {
  module {
    source = "./modules/ssm"
  }

  variables {
    parameters        = { "/challenge/kantox" = { value = "cloud-engineer" } }
    secure_parameters = { "/challenge/token" = { version = 1 } }
    kms_key_arn       = null
    change_queue      = { name = "changes", prefixes = ["/challenge/"] }
  }

  assert {
    condition     = aws_ssm_parameter.string["/challenge/kantox"].type == "String" && aws_ssm_parameter.string["/challenge/kantox"].value == "cloud-engineer"
    error_message = "the parameter must have its value"
  }

  assert {
    condition     = aws_ssm_parameter.secure["/challenge/token"].type == "SecureString" && aws_ssm_parameter.secure["/challenge/token"].value_wo == null
    error_message = "a SecureString's value must be write-only"
  }

  assert {
    condition     = toset(keys(aws_cloudwatch_event_rule.changes)) == toset(["changes", "expirations"])
    error_message = "changes and expired parameters must each have a rule"
  }

  assert {
    condition     = alltrue([for target in aws_cloudwatch_event_target.changes : target.arn == aws_sqs_queue.changes["queue"].arn])
    error_message = "each rule must send to the queue"
  }

  assert {
    condition     = toset(values(aws_cloudwatch_event_target.changes)[*].rule) == toset(["changes", "changes-expired"])
    error_message = "each rule must have a target"
  }
}

run "a_boundary_bounds_the_pipeline" {
  module {
    source = "./modules/github-oidc"
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
    permissions_boundary_arn = "arn:aws:iam::123456789012:policy/boundary"
  }

  assert {
    condition     = aws_iam_role.pipeline.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"
    error_message = "the role must have the permissions boundary"
  }
}

run "a_boundary_bounds_the_pods" {
  module {
    source = "./modules/workload-identity"
  }

  variables {
    name                       = "aux-service"
    parameter_prefixes         = ["/challenge/"]
    allow_secure_strings       = false
    kms_key_arn                = null
    change_queue_arn           = null
    method                     = "oidc"
    oidc_issuer_url            = "https://oidc.example.com/"
    oidc_thumbprints           = null
    ca_certificate             = null
    image_pull_service_account = null
    image_pull_policy_arn      = null
    permissions_boundary_arn   = "arn:aws:iam::123456789012:policy/boundary"
  }

  assert {
    condition     = aws_iam_role.this["aux-service"].permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"
    error_message = "the role must have the permissions boundary"
  }

  assert {
    condition     = aws_iam_openid_connect_provider.cluster[0].url == "https://oidc.example.com"
    error_message = "AWS compares the issuer without its last slash"
  }
}

run "the_state_has_a_bucket_of_its_own" {
  module {
    source = "./state"
  }

  # The configuration in state/ has no variable of the main one.
  variables {
    region        = "eu-west-2"
    force_destroy = false
  }

  assert {
    condition     = strcontains(output.backend, "use_lockfile = true") && strcontains(output.backend, "encrypt      = true")
    error_message = "the state must be locked and encrypted"
  }

  assert {
    condition     = strcontains(output.backend, "bucket       = \"terraform-state-123456789012-eu-west-2\"")
    error_message = "the bucket's name must hold the account's number"
  }
}
