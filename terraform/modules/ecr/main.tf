locals {
  services    = sort(var.services)
  moving_tags = ["deployed", "latest"]
  kept_tags   = [for pair in setproduct(local.services, local.moving_tags) : join("-", pair)]
}

resource "aws_ecr_repository" "images" {
  #checkov:skip=CKV_AWS_51:Every tag is immutable except `<service>-latest` and `<service>-deployed`, which name no build; the check does not support exceptions.
  name         = var.name
  force_delete = var.force_delete

  # A production image cannot change under its tag. Development's `<service>-latest` moves with every push, and a release moves
  # `<service>-deployed` to the image that the charts name.
  image_tag_mutability = "IMMUTABLE_WITH_EXCLUSION"

  dynamic "image_tag_mutability_exclusion_filter" {
    for_each = local.moving_tags

    content {
      filter      = "*-${image_tag_mutability_exclusion_filter.value}"
      filter_type = "WILDCARD"
    }
  }

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = var.kms_key_arn == null ? "AES256" : "KMS"
    kms_key         = var.kms_key_arn
  }
}

resource "aws_ecr_lifecycle_policy" "images" {
  repository = aws_ecr_repository.images.name

  policy = jsonencode({
    rules = concat(
      # ECR applies only the first rule that selects an image, and one image has this tag, so it never expires.
      [for i, tag in local.kept_tags : {
        rulePriority = 1 + i
        description  = "Never expire ${tag}"
        selection = {
          tagStatus     = "tagged"
          tagPrefixList = [tag]
          countType     = "imageCountMoreThan"
          countNumber   = 1
        }
        action = { type = "expire" }
      }],
      [for i, service in local.services : {
        rulePriority = 101 + i
        description  = "Keep the last ${var.images_kept} images of ${service}"
        selection = {
          tagStatus     = "tagged"
          tagPrefixList = ["${service}-"]
          countType     = "imageCountMoreThan"
          countNumber   = var.images_kept
        }
        action = { type = "expire" }
      }],
      # The single-platform images inside a multi-platform image have no tag either; ECR never expires them before their index.
      [{
        rulePriority = 201
        description  = "Drop what lost its tag a day ago"
        selection = {
          tagStatus   = "untagged"
          countType   = "sinceImagePushed"
          countUnit   = "days"
          countNumber = 1
        }
        action = { type = "expire" }
      }],
    )
  })
}

# The pulling identity (a node, or the job that renews a pull secret) differs between clusters, so only the policy is created here.
resource "aws_iam_policy" "pull" {
  name        = "${var.name}-image-pull"
  description = "Pulls images from the repository ${var.name}"

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "LogIn"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid      = "PullFromThisRepository"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = aws_ecr_repository.images.arn
      },
    ]
  })
}
