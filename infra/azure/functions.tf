# The function app: one executable, started by the host when a message or a timer is due.

locals {
  has_lake      = var.lake_container != ""
  has_workspace = var.workspace_url != ""
  has_principal = var.client_id != ""
  has_notes     = local.has_lake && local.has_workspace

  timer = var.every_minutes < 60 ? "0 */${var.every_minutes} * * * *" : "0 0 * * * *"

  lake_url    = "abfss://${var.lake_container}@${var.storage_account_name}.dfs.core.windows.net/${var.lake_path}"
  landing_url = "abfss://${azurerm_storage_container.landing.name}@${var.storage_account_name}.dfs.core.windows.net"

  inlet = {
    INLET_LANDING = local.landing_url
    # The identity by which uploads, settings and secrets are read.
    AZURE_CLIENT_ID = azurerm_user_assigned_identity.functions.client_id
  }
  tables = local.has_lake ? {
    INLET_LAKE              = local.lake_url
    INLET_STORAGE_METHOD    = "managed_identity"
    INLET_STORAGE_CLIENT_ID = azurerm_user_assigned_identity.functions.client_id
    } : {
    INLET_EVERY = "${var.every_minutes}m"
  }
  settings = var.settings_url == "" ? {} : {
    INLET_SETTINGS = var.settings_url
  }
  workspace = !local.has_workspace ? {} : {
    INLET_WORKSPACE_URL  = var.workspace_url
    INLET_CATALOG        = var.catalog
    INLET_HTTP_PATH      = var.http_path
    INLET_AUTH_METHOD    = local.has_principal ? "oauth" : "managed_identity"
    INLET_AUTH_CLIENT_ID = local.has_principal ? var.client_id : azurerm_user_assigned_identity.functions.client_id
  }
  principal = !local.has_principal ? {} : {
    INLET_AUTH_CLIENT_SECRET = "keyvault:https://${reverse(split("/", var.key_vault_id))[0]}.vault.azure.net/secrets/${var.client_secret_name}"
  }
  host = {
    # Written so that the provider does not fill it with an account key.
    AzureWebJobsStorage                       = ""
    AzureWebJobsStorage__accountName          = azurerm_storage_account.functions.name
    AzureWebJobsStorage__credential           = "managedidentity"
    AzureWebJobsStorage__clientId             = azurerm_user_assigned_identity.functions.client_id
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING = "ClientId=${azurerm_user_assigned_identity.functions.client_id};Authorization=AAD"
    EVOLVE_SCHEDULE                           = var.evolve_schedule != "" ? var.evolve_schedule : local.timer
    BACKFILL_SCHEDULE                         = var.backfill_schedule
    MAINTAIN_SCHEDULE                         = var.maintain_schedule
    # Events come by the queue, which repeats and gives up. This one is for who would rather have them pushed.
    "AzureWebJobs.ingest_eventgrid.Disabled" = "true"
    # Notes are a lake's; the windows of managed tables are opened by the timer alone, and Databricks keeps them in order.
    "AzureWebJobs.evolve.Disabled"       = tostring(!local.has_notes)
    "AzureWebJobs.evolve_timer.Disabled" = tostring(!local.has_workspace)
    "AzureWebJobs.maintain.Disabled"     = tostring(!local.has_lake)
  }
}

resource "azurerm_user_assigned_identity" "functions" {
  name                = "${var.name}-functions"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

resource "azurerm_service_plan" "functions" {
  name                = "${var.name}-functions"
  resource_group_name = var.resource_group_name
  location            = var.location
  os_type             = "Linux"
  sku_name            = "FC1"
  tags                = var.tags
}

resource "azurerm_function_app_flex_consumption" "functions" {
  name                = "${var.name}-functions"
  resource_group_name = var.resource_group_name
  location            = var.location
  service_plan_id     = azurerm_service_plan.functions.id

  storage_container_type            = "blobContainer"
  storage_container_endpoint        = "${azurerm_storage_account.functions.primary_blob_endpoint}${azurerm_storage_container.package.name}"
  storage_authentication_type       = "UserAssignedIdentity"
  storage_user_assigned_identity_id = azurerm_user_assigned_identity.functions.id

  runtime_name           = "custom"
  runtime_version        = var.runtime_version
  instance_memory_in_mb  = var.instance_memory_mb
  maximum_instance_count = var.maximum_instances
  https_only             = true
  tags                   = var.tags

  webdeploy_publish_basic_authentication_enabled = false

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.functions.id]
  }

  site_config {
    application_insights_connection_string = azurerm_application_insights.functions.connection_string
    minimum_tls_version                    = "1.2"
  }

  app_settings = merge(local.host, local.inlet, local.tables, local.workspace, local.principal, local.settings)

  depends_on = [azurerm_role_assignment.host_blobs, azurerm_role_assignment.host_queues]

  lifecycle {
    precondition {
      condition     = local.has_lake || local.has_workspace
      error_message = "lake_container is empty, so Unity Catalog keeps the tables: name its workspace_url, or a lake_container."
    }
  }
}

# What the functions may do: the host's account is theirs, of the landing they read, of the lake they write.

resource "azurerm_role_assignment" "host_blobs" {
  scope                = azurerm_storage_account.functions.id
  role_definition_name = "Storage Blob Data Owner"
  principal_id         = azurerm_user_assigned_identity.functions.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "host_queues" {
  scope                = azurerm_storage_account.functions.id
  role_definition_name = "Storage Queue Data Contributor"
  principal_id         = azurerm_user_assigned_identity.functions.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "landing" {
  scope                = azurerm_storage_container.landing.id
  role_definition_name = "Storage Blob Data Reader"
  principal_id         = azurerm_user_assigned_identity.functions.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "lake" {
  count = local.has_lake ? 1 : 0

  scope                = "${data.azurerm_storage_account.lake.id}/blobServices/default/containers/${var.lake_container}"
  role_definition_name = "Storage Blob Data Contributor"
  principal_id         = azurerm_user_assigned_identity.functions.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "secret" {
  count = local.has_principal ? 1 : 0

  scope                = "${var.key_vault_id}/secrets/${var.client_secret_name}"
  role_definition_name = "Key Vault Secrets User"
  principal_id         = azurerm_user_assigned_identity.functions.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "metrics" {
  scope                = azurerm_application_insights.functions.id
  role_definition_name = "Monitoring Metrics Publisher"
  principal_id         = azurerm_user_assigned_identity.functions.principal_id
  principal_type       = "ServicePrincipal"
}
